"""`pathcast tune` in several processes, through a kill, into the real MLflow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import SecretStr
from support.sequences import make_sequence
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.settings import PlatformSettings
from pathcast.registry.tracking import tracking_client
from pathcast.tracking.mot_sequences import find_sequences
from pathcast.training.remembered_run import RUN_FILE
from pathcast.training.tracker_tuning import TrackerSearch
from pathcast.training.tuning import Study
from pathcast.training.tuning_runs import SearchRuns

pytestmark = pytest.mark.integration

KILL_LIMIT_S = 240


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sequences")
    for seed, name in enumerate(("one", "two")):
        make_sequence(folder, name, seed)
    return folder


def run_cli(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["tune", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def runs_of_searches(uri: SecretStr) -> list[Run]:
    """MLflow's runs of the tracker's searches; other tests search it too."""
    experiment = tracking_client(uri).get_experiment_by_name("tune-tracker")
    return (
        []
        if experiment is None
        else list(tracking_client(uri).search_runs([experiment.experiment_id], max_results=1000))
    )


@pytest.mark.timeout(600)
def test_a_killed_search_goes_on_and_is_in_mlflow(
    sequences: Path, tmp_path: Path, platform_settings: PlatformSettings
) -> None:
    output = tmp_path / "search"
    command = ["tracker", "--data", str(sequences), "--parallel", "2", "--yes", "--output", str(output)]
    command += ["--set", "confirm_hits=2"]
    killed = subprocess.Popen(
        [sys.executable, "-m", "pathcast", "tune", *command, "--trials", "500", "--state-dir", str(tmp_path)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    study = Study(TrackerSearch(find_sequences([sequences]), ("det",), {"confirm_hits": 2}), output)
    end = time.monotonic() + KILL_LIMIT_S
    try:
        while not study.exists or len(study.ended()) < 3:
            assert killed.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    before = study.ended()
    wanted = len(before) + 4
    uri = platform_settings.mlflow_tracking_uri
    others = {run.info.run_id for run in runs_of_searches(uri)}
    out = run_cli(
        *command,
        "--trials",
        wanted,
        "--resume",
        "--mlflow",
        uri.get_secret_value(),
        "--price",
        2,
        "--json",
        tmp_path / "j",
    )
    assert "4 trials x " in out
    assert " / 2 at a time" in out
    assert " at 2 an hour" in out
    ended = study.ended()
    assert [trial.number for trial in ended][: len(before)] == [trial.number for trial in before]
    assert len(ended) == wanted

    summary = json.loads((tmp_path / "j").read_text())
    assert summary["best"] >= summary["start"] == ended[0].value
    assert summary["settings"]["confirm_hits"] == 2
    assert summary["best"] == study.best().value
    assert sum(summary["trials"].values()) == wanted
    assert summary["estimate_cost"] == pytest.approx(2 * summary["estimate_machine_hours"], abs=1e-3)

    runs = [run for run in runs_of_searches(uri) if run.info.run_id not in others]
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs if run is not parent} == {parent.info.run_id}
    assert len(runs) == 1 + wanted
    assert parent.data.metrics["best_hota"] == pytest.approx(summary["best"])
    assert {item.path for item in tracking_client(uri).list_artifacts(parent.info.run_id)} >= {
        "best.json",
        "history.png",
        "steps.png",
    }


def test_a_server_that_fails_on_the_way_stops_no_search(
    platform_settings: PlatformSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = SearchRuns(platform_settings.mlflow_tracking_uri, "failing", "hota", tmp_path)
    trial = optuna.trial.create_trial(value=50.0)

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("no answer from http://user:secret@host/api")

    runs._client.log_batch = fail
    runs.add(trial)
    runs.add(trial)
    runs.finish(trial, [])
    assert runs.broken
    (warning,) = caplog.messages
    assert "misses the rest of this search" in warning
    assert "secret" not in warning


@pytest.mark.parametrize("known", ['{"run_id": "gone", "trials": [0]}', "torn", "deleted"])
def test_a_search_whose_run_is_gone_begins_another(
    platform_settings: PlatformSettings, tmp_path: Path, known: str
) -> None:
    uri = platform_settings.mlflow_tracking_uri
    trial = optuna.trial.create_trial(value=50.0)
    trial.number = 0
    if known == "deleted":
        SearchRuns(uri, "gone", "hota", tmp_path).add(trial)
        tracking_client(uri).delete_run(json.loads((tmp_path / RUN_FILE).read_text())["run_id"])
    else:
        (tmp_path / RUN_FILE).write_text(known)
    runs = SearchRuns(uri, "gone", "hota", tmp_path)
    runs.add(trial)
    again = SearchRuns(uri, "gone", "hota", tmp_path)
    again.add(trial)
    again.finish(trial, [])
    run = tracking_client(uri).get_run(json.loads((tmp_path / RUN_FILE).read_text())["run_id"])
    children = [
        each
        for each in tracking_client(uri).search_runs([run.info.experiment_id])
        if each.data.tags.get("mlflow.parentRunId") == run.info.run_id
    ]
    assert len(children) == 1
    assert run.info.status == "FINISHED"
    assert run.data.metrics["best_hota"] == 50.0
