"""From data to a promoted model through the real servers; and seven ways to fail that leave the champion serving."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import toy_family

from pathcast.core.errors import GateFailedError, PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.registry.publishing import ModelLifecycle, challenger_of
from pathcast.registry.tracking import ModelRegistry
from pathcast.serving.triton_client import TritonClient
from pathcast.training import lifecycle as steps
from pathcast.training.prepared import prepare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TESTS = Path(__file__).parents[1]
FAMILY = "support.toy_family:FAMILY"
MODEL = "toy"


@pytest.fixture(scope="module")
def champion(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The outcome of the whole pipeline, run for a family that the project does not know."""
    target = tmp_path_factory.mktemp("run") / "outcome.json"
    command = [sys.executable, "-m", "pathcast", "pipeline", "run", "train_model", "--set", f"family={FAMILY}"]
    command += ["--set", "min_samples=100", "--state-dir", str(platform.state_dir), "--json", str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
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
        platform_settings, FAMILY, made / "trained", made / "exported", made / "data", {"mae": 0.04}, ()
    )


def served(settings: PlatformSettings) -> str:
    """The version that answers clients, which must answer right."""
    with TritonClient(settings.triton_grpc) as client:
        answer = client.infer(MODEL, {"x": np.ones((1, 3), np.float32)})
    assert answer.outputs["y"][0, 0] == pytest.approx(toy_family.SLOPE.sum(), abs=0.1)
    return answer.model_version


@pytest.fixture
def unchanged(platform_settings: PlatformSettings, champion: dict[str, object]) -> object:
    """After the test and the pipeline's last step the champion serves, and nothing is on trial."""
    yield
    steps.finish(platform_settings, FAMILY, "test-run", None)
    assert served(platform_settings) == str(champion["champion"])
    assert ModelLifecycle(platform_settings).champion(MODEL) == champion["champion"]
    with TritonClient(platform_settings.triton_grpc) as client:
        assert not client.ready(challenger_of(MODEL))


def test_a_sixth_family_goes_from_data_to_champion(
    champion: dict[str, object], platform_settings: PlatformSettings
) -> None:
    gates = champion["gates"]
    assert isinstance(gates, dict)
    assert set(gates) == {"data", "parity", "metric", "latency", "smoke_test"}
    assert all(gate["passed"] for gate in gates.values()), gates
    assert champion["champion"] == champion["version"] is not None
    assert served(platform_settings) == str(champion["champion"])
    tags = ModelRegistry(platform_settings.mlflow_tracking_uri).tags(MODEL, int(str(champion["version"])))
    assert {"data_version", "git_commit"} <= set(tags)


@pytest.mark.usefixtures("unchanged")
def test_a_training_that_crashes(
    platform_settings: PlatformSettings, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(PathcastError, match="exit code 1") as raised:
        steps.train_model(
            platform_settings,
            FAMILY,
            made / "data",
            tmp_path / "trained",
            start_from="random",
            changes={"epochs": 1, "loss_scale": 1e38},
            workers=1,
            launcher="local",
        )
    steps.finish(platform_settings, FAMILY, "crashed-run", str(raised.value))
    name, reason = ModelRegistry(platform_settings.mlflow_tracking_uri).failures(MODEL)[0]
    assert name == "crashed-run"
    assert "the loss of epoch 1" in reason


@pytest.mark.usefixtures("unchanged")
def test_too_little_data(made: Path) -> None:
    verdict = steps.validate_data(FAMILY, made / "data", min_samples=5000)
    assert not verdict.passed
    assert "train: expected 5000, got 256" in verdict.reason


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
def test_a_challenger_that_is_worse(platform_settings: PlatformSettings, made: Path, tmp_path: Path) -> None:
    worse = with_kernel(made / "exported", tmp_path / "worse", 1.5)
    evaluation, verdicts = steps.evaluate_model(platform_settings, FAMILY, worse, made / "data", tmp_path)
    assert [verdict.passed for verdict in verdicts] == [False, True]
    version = steps.register_model(
        platform_settings, FAMILY, made / "trained", worse, made / "data", evaluation.metrics, verdicts
    )
    with pytest.raises(GateFailedError, match="failed metric: mae"):
        steps.deploy_model(platform_settings, FAMILY, version)
    with pytest.raises(GateFailedError, match="failed metric"):
        steps.promote_model(platform_settings, FAMILY, version)
    stored = {verdict.gate: verdict for verdict in ModelLifecycle(platform_settings).verdicts(MODEL, version)}
    assert "the champion's" in stored["metric"].reason


@pytest.mark.usefixtures("unchanged")
def test_an_export_that_differs(made: Path, tmp_path: Path) -> None:
    other = with_kernel(made / "exported", tmp_path / "other", 1.01)
    assert steps.check_parity(FAMILY, made / "trained", made / "exported", made / "data").passed
    verdict = steps.check_parity(FAMILY, made / "trained", other, made / "data")
    assert not verdict.passed
    assert verdict.numbers["share_of_tolerance"] > 1


@pytest.mark.usefixtures("unchanged")
def test_a_smoke_test_that_fails(
    platform_settings: PlatformSettings, made: Path, registered: int, tmp_path: Path
) -> None:
    other = with_kernel(made / "exported", tmp_path / "other", 2.0)
    steps.publish_model(platform_settings, FAMILY, registered, other)
    steps.deploy_model(platform_settings, FAMILY, registered)
    verdict = steps.smoke_test(platform_settings, FAMILY, registered, made / "exported", made / "data")
    assert not verdict.passed
    with pytest.raises(GateFailedError, match="failed smoke_test: output y: expected the file's own answers"):
        steps.promote_model(platform_settings, FAMILY, registered)


@pytest.mark.usefixtures("unchanged")
def test_a_store_that_vanishes_half_way(
    platform: Platform, platform_settings: PlatformSettings, made: Path, registered: int
) -> None:
    steps.publish_model(platform_settings, FAMILY, registered, made / "exported")
    steps.deploy_model(platform_settings, FAMILY, registered)
    assert steps.smoke_test(platform_settings, FAMILY, registered, made / "exported", made / "data").passed
    platform.kill("object_store")
    try:
        with pytest.raises(ServiceUnavailableError, match="the object store failed"):
            steps.promote_model(platform_settings, FAMILY, registered)
        served(platform_settings)
    finally:
        platform.start("object_store")


@pytest.mark.usefixtures("unchanged")
def test_a_version_that_was_never_tried(platform_settings: PlatformSettings, made: Path, registered: int) -> None:
    steps.publish_model(platform_settings, FAMILY, registered, made / "exported")
    with pytest.raises(GateFailedError, match="never tried on a live endpoint"):
        steps.promote_model(platform_settings, FAMILY, registered)


def test_a_family_without_stored_labels_says_so(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    from pathcast.training.family import Selection

    toy_family.FILES_ONLY = replace(toy_family.FAMILY, name="files_only", select=None)
    with pytest.raises(PathcastError, match="learns from files alone"):
        steps.select_data(platform_settings, "support.toy_family:FILES_ONLY", tmp_path / "raw", Selection((), 1.0))
