"""Trainings recorded in the platform's MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from pydantic import SecretStr

from pathcast.core.errors import ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.core.trained_model import TrainedModel
from pathcast.registry.tracking import tracking_client
from pathcast.training.loop import EpochReport
from pathcast.training.remembered_run import RUN_FILE
from pathcast.training.runs import RunWatcher, reachable

FAMILY = "family-of-the-run-test"
RECORD: dict[str, Any] = {
    "family": FAMILY,
    "settings": {"units": 8},
    "training": {"epochs": 2, "seed": 1},
    "workers": 2,
    "data_version": "0123abcd",
    "release": "1.2.3",
    "git_commit": None,
}


def report(epoch: int) -> EpochReport:
    return EpochReport(epoch, 2, 1.0 / epoch, {"score": 2.0 / epoch}, True, 0.5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data_card.json").write_text("{}")
    return folder


def test_a_resumed_training_goes_on_in_its_run(platform_settings: PlatformSettings, tmp_path: Path, data: Path) -> None:
    uri, output = platform_settings.mlflow_tracking_uri, tmp_path / "model"
    assert reachable(uri)
    killed = RunWatcher(uri, output, data)
    killed.started(RECORD)
    killed.epoch_ended(report(1))
    resumed = RunWatcher(uri, output, data)
    resumed.started(RECORD)
    resumed.epoch_ended(report(2))
    model = TrainedModel(FAMILY, {"units": 8}, {"bias": np.zeros(2)}, {"val": {"score": 1.0}, "best_epoch": 2})
    model.save(output)
    resumed.finished(output, model)
    assert not (output / RUN_FILE).exists()

    client = tracking_client(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(FAMILY).experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"units": "8", "epochs": "2", "seed": "1", "workers": "2"}
    assert run.data.tags.items() >= {"data_version": "0123abcd", "release": "1.2.3"}.items()
    assert "git_commit" not in run.data.tags
    assert run.data.metrics == {
        "loss": 0.5,
        "val_score": 1.0,
        "seconds_per_epoch": 0.5,
        "best_val_score": 1.0,
        "best_epoch": 2.0,
    }
    assert [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")] == [1.0, 0.5]
    names = [item.path for folder in ("model", "data") for item in client.list_artifacts(run.info.run_id, folder)]
    assert names == ["model/model.json", "model/weights.npz", "data/data_card.json"]


def test_a_server_that_fails_on_the_way_stops_no_training(
    platform_settings: PlatformSettings, tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = RunWatcher(platform_settings.mlflow_tracking_uri, tmp_path / "model", data)
    watcher.started(RECORD)

    def fail(*_: Any, **__: Any) -> None:
        raise MlflowException("no answer from http://user:secret@host/api")

    watcher._client.log_batch = fail
    watcher.epoch_ended(report(1))
    watcher.epoch_ended(report(2))
    (warning,) = caplog.messages
    assert "misses the rest of this training" in warning
    assert "secret" not in warning


def test_a_server_that_is_absent_at_the_start_is_an_error(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nowhere = SecretStr("http://user:secret@127.0.0.1:9")
    assert not reachable(nowhere)
    with pytest.raises(ServiceUnavailableError) as error:
        RunWatcher(nowhere, tmp_path / "model", data).started(RECORD)
    assert "secret" not in str(error.value)
