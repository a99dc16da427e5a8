"""From data to a promoted model through the real servers; and seven ways to fail that leave the champion serving."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pydantic import SecretStr
from support import toy_family
from support.flaky_http import flaky
from support.webhook import Receiver, receiving

from pathcast.core.errors import GateFailedError, PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.registry.publishing import ModelLifecycle, challenger_of
from pathcast.registry.tracking import ModelRegistry
from pathcast.registry.verdicts import REPLAY, SMOKE_TEST, Verdict
from pathcast.serving.triton_client import TritonClient
from pathcast.training import lifecycle as steps
from pathcast.training.ending import finish
from pathcast.training.family import Selection
from pathcast.training.jobs import Crew
from pathcast.training.pipeline_step import RUN
from pathcast.training.prepared import prepare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

TESTS = Path(__file__).parents[1]
FAMILY = "support.toy_family:FAMILY"
MODEL = "toy"


@pytest.fixture(autouse=True)
def _addresses(platform_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps find the platform by their environment, as in a pod."""
    for name, value in settings_variables(platform_settings).items():
        monkeypatch.setenv(name, value)


def run_pipeline(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pathcast pipeline run train_model` for the toy family."""
    command = [sys.executable, "-m", "pathcast", "pipeline", "run", "train_model", "--set", f"family={FAMILY}"]
    command += [*arguments, "--state-dir", str(platform.state_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=1500, check=False
    )


@pytest.fixture(scope="module")
def champion(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The outcome of the whole pipeline, run for a family that the project does not know."""
    target = tmp_path_factory.mktemp("run") / "outcome.json"
    done = run_pipeline(platform, "--set", "min_samples=100", "--json", str(target))
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    return dict(json.loads(target.read_text()))


@pytest.fixture(scope="module")
def made(champion: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `data` and `exported` of the champion's kind, made without the pipeline."""
    from pathcast.core.trained_model import TrainedModel

    folder = tmp_path_factory.mktemp("made")
    (folder / "raw").mkdir()
    toy_family._select(None, folder / "raw", None)
    data = prepare(toy_family.FAMILY, folder / "raw", folder / "data")
    weights = {"line/kernel": toy_family.SLOPE[:, None].astype(np.float32), "line/bias": np.zeros(1, np.float32)}
    record = {"training": {}, "val": {"score": 0.0}, "data_version": data.version, "git_commit": None, "release": "0"}
    record |= {"best_epoch": 1, "epochs_run": 1}
    TrainedModel(MODEL, {"loss_scale": 1.0}, weights, record).save(folder / "trained")
    steps.export_onnx(FAMILY, folder / "trained", folder / "data", folder / "exported")
    return folder


@pytest.fixture
def registered(platform_settings: PlatformSettings, made: Path) -> int:
    """A version that passed every gate so far and is not deployed yet."""
    return steps.register_model(
        *(platform_settings, FAMILY, made / "trained", made / "exported", made / "data", {"mae": 0.04}, ()),
        gates=(SMOKE_TEST, REPLAY),
    )


def served(settings: PlatformSettings) -> str:
    """The version that answers clients, which must answer right."""
    with TritonClient(settings.triton_grpc) as client:
        answer = client.infer(MODEL, {"x": np.ones((1, 3), np.float32)})
    assert answer.outputs["y"][0, 0] == pytest.approx(toy_family.SLOPE.sum(), abs=0.1)
    return answer.model_version


def failures(settings: PlatformSettings) -> dict[str, str]:
    """The newest reason that the registry holds for each step that failed."""
    kept = ModelRegistry(settings.mlflow_tracking_uri).failures(MODEL)
    return {each.name: each.reason for each in reversed(kept)}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Who is told at the end of a run."""
    with receiving() as server:
        monkeypatch.setenv("PATHCAST_MONITOR_WEBHOOK_URL", server.address)
        yield server


def only_message(told: Receiver, champion: dict[str, object], reason: str) -> dict[str, str]:
    """What people were told, once: what happened and why, which version serves, and what to do next."""
    ((_, _, message),) = told.received
    assert reason in message["reason"]
    assert f"Version {champion['champion']} serves on." in message["text"]
    assert "Next: " in message["text"]
    return message


@pytest.fixture
def unchanged(platform_settings: PlatformSettings, champion: dict[str, object]) -> object:
    """After the test and the pipeline's last step the champion serves, and nothing is on trial."""
    yield
    finish(platform_settings, FAMILY, "test-run", None, run="1")
    assert served(platform_settings) == str(champion["champion"])
    assert ModelLifecycle(platform_settings).champion(MODEL) == champion["champion"]
    with TritonClient(platform_settings.triton_grpc) as client:
        assert not client.ready(challenger_of(MODEL))


def test_a_sixth_family_goes_from_data_to_champion(
    champion: dict[str, object], platform_settings: PlatformSettings
) -> None:
    gates = champion["gates"]
    assert isinstance(gates, dict)
    assert set(gates) == {"data", "parity", "metric", "latency", "smoke_test", "replay"}
    assert all(gate["passed"] for gate in gates.values()), gates
    assert champion["champion"] == champion["version"] is not None
    assert served(platform_settings) == str(champion["champion"])
    tags = ModelRegistry(platform_settings.mlflow_tracking_uri).tags(MODEL, int(str(champion["version"])))
    assert {"data_version", "git_commit"} <= set(tags)
    assert tags["gates"].split() == list(steps.GATES)
    assert tags["trial_run"]
    assert "{{" not in tags["trial_run"]


@pytest.mark.usefixtures("unchanged")
def test_a_training_that_crashes(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, tmp_path: Path, told: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(PathcastError, match="exit code 1") as raised:
        steps.train_model(
            platform_settings,
            FAMILY,
            made / "data",
            tmp_path / "trained",
            start_from="random",
            changes={"epochs": 1, "loss_scale": 1e38},
            crew=Crew(workers=2),
        )
    finish(platform_settings, FAMILY, "crashed-run", "the last step knows no more than that one failed", run="1")
    assert "the loss of epoch 1" in failures(platform_settings)["train_model"]
    assert "crashed-run" in failures(platform_settings)
    assert "the loss of epoch 1" in str(raised.value)
    message = only_message(told, champion, "the loss of epoch 1")
    assert (message["event"], message["step"]) == ("training_failed", "train_model")
    assert "Next: mend that, then `pathcast pipeline run continuous_training" in message["text"]


@pytest.mark.usefixtures("unchanged")
def test_too_little_data(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, told: Receiver
) -> None:
    verdict = steps.validate_data(platform_settings, FAMILY, made / "data", min_samples=5000)
    assert not verdict.passed
    assert "train: expected 5000, got 256" in verdict.reason
    assert failures(platform_settings)["validate_data"] == f"too little data: {verdict.reason}"
    for _ in range(2):
        finish(platform_settings, FAMILY, "test-run", None, run="1")
    assert "Next: take more" in only_message(told, champion, verdict.reason)["text"]


def with_kernel(source: Path, target: Path, factor: float) -> Path:
    """The exported model with other weights."""
    shutil.copytree(source, target)
    path = target / "1" / "model.onnx"
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size == 3:
            tensor.CopyFrom(numpy_helper.from_array((values * factor).astype(values.dtype), tensor.name))
    onnx.save(model, str(path))
    return target


@pytest.mark.usefixtures("unchanged")
def test_a_challenger_that_is_worse(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, tmp_path: Path, told: Receiver
) -> None:
    worse = with_kernel(made / "exported", tmp_path / "worse", 1.5)
    evaluation, verdicts = steps.evaluate_model(platform_settings, FAMILY, worse, made / "data", tmp_path)
    assert [verdict.passed for verdict in verdicts] == [False, True]
    assert "the champion's" in verdicts[0].reason
    assert verdicts[0].against == champion["champion"]
    refused(platform_settings, champion, made, worse, verdicts[0], told)


def refused(
    settings: PlatformSettings,
    champion: dict[str, object],
    made: Path,
    exported: Path,
    verdict: Verdict,
    told: Receiver,
) -> None:
    """A version that bears the verdict is neither tried nor promoted; the registry says why, people are told once."""
    version = steps.register_model(settings, FAMILY, made / "trained", exported, made / "data", {}, [verdict])
    for forbidden, more in ((steps.deploy_model, ("1",)), (steps.promote_model, ())):
        with pytest.raises(GateFailedError, match=f"failed {verdict.gate}"):
            forbidden(settings, FAMILY, version, *more)
    assert ModelLifecycle(settings).verdicts(MODEL, version) == [verdict]
    for _ in range(2):
        finish(settings, FAMILY, "test-run", None, run="1")
    message = only_message(told, champion, verdict.reason)
    assert (message["event"], message["version"]) == ("version_refused", version)


@pytest.mark.usefixtures("unchanged")
def test_an_export_that_differs(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, tmp_path: Path, told: Receiver
) -> None:
    other = with_kernel(made / "exported", tmp_path / "other", 1.01)
    assert steps.check_parity(FAMILY, made / "trained", made / "exported", made / "data").passed
    verdict = steps.check_parity(FAMILY, made / "trained", other, made / "data")
    assert not verdict.passed
    assert verdict.numbers["share_of_tolerance"] > 1
    refused(platform_settings, champion, made, other, verdict, told)


@pytest.mark.usefixtures("unchanged")
def test_a_model_that_is_too_slow(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, tmp_path: Path, told: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    hasty = replace(toy_family.FAMILY, gate=replace(toy_family.FAMILY.gate, latency_ms=1e-9))
    monkeypatch.setattr(toy_family, "FAMILY", hasty)
    _, (_, verdict) = steps.evaluate_model(platform_settings, FAMILY, made / "exported", made / "data", tmp_path)
    assert not verdict.passed
    assert "on one core, expected at most 1e-09 ms" in verdict.reason
    refused(platform_settings, champion, made, made / "exported", verdict, told)


@pytest.mark.usefixtures("unchanged")
def test_a_smoke_test_that_fails(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, registered: int, tmp_path: Path,
    told: Receiver,
) -> None:  # fmt: skip
    other = with_kernel(made / "exported", tmp_path / "other", 2.0)
    steps.publish_model(platform_settings, FAMILY, registered, other)
    steps.deploy_model(platform_settings, FAMILY, registered, "1")
    verdict = steps.smoke_test(platform_settings, FAMILY, registered, made / "exported", made / "data")
    assert not verdict.passed
    assert verdict.numbers["error_rate"] == 1
    with pytest.raises(GateFailedError, match="failed smoke_test: 20 of 20 requests failed"):
        steps.promote_model(platform_settings, FAMILY, registered)
    finish(platform_settings, FAMILY, "test-run", "promote-model failed", run="1")
    only_message(told, champion, "smoke_test: 20 of 20 requests failed")


@pytest.mark.usefixtures("unchanged")
def test_what_could_not_be_told_is_told_by_the_next_run(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, told: Receiver
) -> None:
    """A refused version and a step that failed, in one message; marked as told when it has arrived, not before."""
    verdict = Verdict("metric", False, "no better")
    version = steps.register_model(
        platform_settings, FAMILY, made / "trained", made / "exported", made / "data", {}, [verdict]
    )
    told.answers = [500, 500, 500, 204]
    for attempts in (3, 4, 4):
        finish(platform_settings, FAMILY, "test-run", "a node went away" if attempts == 3 else None, run="lonely")
        assert len(told.received) == attempts
    messages = [body for _, _, body in told.received]
    assert {message["version"] for message in messages} == {version}
    assert {json.dumps(message["failures"]) for message in messages} == {'[["test-run", "a node went away"]]'}
    assert "Also failed: test-run: a node went away" in messages[-1]["text"]


@pytest.mark.usefixtures("unchanged")
def test_refusals_that_nobody_was_told_of_are_told_each(
    platform_settings: PlatformSettings, champion: dict[str, object], made: Path, told: Receiver
) -> None:
    told.answers = [400, 204]
    versions = []
    for reason in ("first", "second"):
        given = (made / "trained", made / "exported", made / "data", {}, [Verdict("metric", False, reason)])
        versions.append(steps.register_model(platform_settings, FAMILY, *given))
        finish(platform_settings, FAMILY, "test-run", None, run="1")
    assert [body["version"] for _, _, body in told.received] == [versions[0], versions[0], versions[1]]


def test_what_nobody_could_be_told_while_the_registry_was_away_is_owed_still(
    platform_settings: PlatformSettings, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told.answers = [400, 204]
    with flaky(platform_settings.mlflow_tracking_uri.get_secret_value()) as registry:
        registry.fails = lambda *_: True
        away = platform_settings.model_copy(update={"mlflow_tracking_uri": SecretStr(registry.address)})
        with pytest.raises(PathcastError, match="MLflow"):
            finish(away, FAMILY, "lost-run", "a node went away", run="registry")
    finish(platform_settings, FAMILY, "test-run", None, run="1")
    messages = [body for _, _, body in told.received]
    assert messages[0] == messages[1]
    assert messages[0]["reason"].startswith("a node went away; the registry does not answer: ")
    assert "The champion of before is to serve on." in messages[0]["text"]


def test_without_the_database_people_are_told_at_once_or_by_the_next_run(
    platform_settings: PlatformSettings, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = platform_settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:9/none")})
    told.answers = [400, 204]
    for attempt in (1, 2):
        with pytest.raises(ServiceUnavailableError, match="could not connect to the database"):
            finish(away, FAMILY, "lost-run", "a node went away" if attempt == 1 else None, run="database")
    messages = [body for _, _, body in told.received]
    assert len(messages) == 2
    assert "a node went away" in json.dumps(messages[0])
    assert "a node went away" in json.dumps(messages[1])


@pytest.mark.usefixtures("unchanged")
def test_a_store_that_vanishes_half_way(
    platform: Platform, platform_settings: PlatformSettings, champion: dict[str, object], made: Path, registered: int,
    told: Receiver,
) -> None:  # fmt: skip
    steps.publish_model(platform_settings, FAMILY, registered, made / "exported")
    steps.deploy_model(platform_settings, FAMILY, registered, "1")
    assert steps.smoke_test(platform_settings, FAMILY, registered, made / "exported", made / "data").passed
    ModelLifecycle(platform_settings).record(MODEL, registered, Verdict(REPLAY, True, "alike"))
    platform.kill("object_store")
    try:
        with pytest.raises(ServiceUnavailableError, match="the object store failed"):
            steps.promote_model(platform_settings, FAMILY, registered)
        served(platform_settings)
        assert "the object store failed" in failures(platform_settings)["promote_model"]
        with pytest.raises(ServiceUnavailableError, match="the object store failed"):
            finish(platform_settings, FAMILY, "test-run", "promote-model failed", run="store")
        message = only_message(told, champion, "the object store failed")
        assert "the champion may not serve" in message["text"]
        assert "the champion may not serve" in failures(platform_settings)["roll_back"]
    finally:
        platform.start("object_store")


def test_a_wrong_setting_of_the_monitor_keeps_no_champion_from_serving(
    platform_settings: PlatformSettings, champion: dict[str, object], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PATHCAST_MONITOR_DEFINITIONS", "no JSON")
    assert finish(platform_settings, FAMILY, "test-run", "select-data failed", run="1") == champion["champion"]
    assert "nobody was told" in capsys.readouterr().out


@pytest.mark.usefixtures("unchanged")
def test_a_version_that_was_never_tried(platform_settings: PlatformSettings, made: Path, registered: int) -> None:
    steps.publish_model(platform_settings, FAMILY, registered, made / "exported")
    with pytest.raises(GateFailedError, match="got no verdict of smoke_test, replay"):
        steps.promote_model(platform_settings, FAMILY, registered)
    lifecycle = ModelLifecycle(platform_settings)
    lifecycle.record(MODEL, registered, Verdict(SMOKE_TEST, True, "right"))
    with pytest.raises(GateFailedError, match="got no verdict of replay"):
        steps.promote_model(platform_settings, FAMILY, registered)


@pytest.mark.usefixtures("unchanged")
def test_of_a_step_that_is_tried_again_the_last_try_counts(
    platform_settings: PlatformSettings, champion: dict[str, object], told: Receiver, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    registry = ModelRegistry(platform_settings.mlflow_tracking_uri)

    def select(run: str, source: str) -> list[str]:
        """What is noted after a try that fails, or after one that does not."""
        monkeypatch.setenv(RUN, run)
        with suppress(PathcastError):
            steps.select_data(platform_settings, FAMILY, tmp_path / "raw", Selection((), 1.0, {"source": source}))
        kept = [each for each in registry.failures(MODEL) if each.name == "select_data" and "/nowhere" in each.reason]
        return [each.reason for each in kept]

    (earlier,) = select("run-1", "/nowhere/1")
    (second, first) = select("run-2", "/nowhere/2")
    assert first == earlier
    assert second != first
    (third, first) = select("run-2", "/nowhere/3")
    assert "/nowhere/3" in third
    file = tmp_path / "data.csv"
    file.write_text("x\n")
    assert select("run-2", str(file)) == [earlier]
    for _ in range(2):  # the last step is tried again as well
        finish(platform_settings, FAMILY, "run-1's name", "select-data failed", run="run-1")
    assert "/nowhere/1" in only_message(told, champion, "/nowhere/1")["reason"]


@pytest.mark.usefixtures("unchanged")
def test_a_step_that_fails_ends_in_the_last_step(
    platform: Platform, champion: dict[str, object], told: Receiver, platform_settings: PlatformSettings
) -> None:
    """The whole pipeline, in processes: Kubeflow's own exit handler runs what restores, keeps and tells."""
    done = run_pipeline(platform, "--set", 'selection={"source": "/nowhere"}')
    assert done.returncode == 1, done.stdout
    message = only_message(told, champion, "/nowhere")
    assert (message["event"], message["step"]) == ("training_failed", "select_data")
    assert "/nowhere" in failures(platform_settings)["select_data"]


def test_a_family_without_stored_labels_says_so(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    toy_family.FILES_ONLY = replace(toy_family.FAMILY, name="files_only", select=None)
    with pytest.raises(PathcastError, match="nothing that the platform stores is labelled"):
        steps.select_data(platform_settings, "support.toy_family:FILES_ONLY", tmp_path / "raw", Selection((), 1.0))
