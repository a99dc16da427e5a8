"""Recorded intervals through two versions of a model, on the real servers: as a command, and as a gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.circling import PLANE, analysed, seen
from support.streaming import frame, observation
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import render_config
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.registry.publishing import REPLACED, ModelLifecycle
from pathcast.registry.registration import Registration
from pathcast.registry.tracking import CHAMPION, ModelRegistry
from pathcast.registry.verdicts import SMOKE_TEST, Verdict, failed
from pathcast.serving.remote_models import RemoteForecaster
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.archive import FrameArchive
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.writers import write_frames, write_observations
from pathcast.training import lifecycle as steps
from pathcast.training.ending import finish
from pathcast.training.replay import replay_interval

pytestmark = pytest.mark.integration

SHIPPED = Path(__file__).parents[2] / "model_repo"
CAMERA, MODEL = "replayed", "forecaster"
SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTES = 2


@pytest.fixture(scope="module")
def lifecycle(platform_settings: PlatformSettings) -> ModelLifecycle:
    return ModelLifecycle(platform_settings)


@pytest.fixture(scope="module")
def publish(lifecycle: ModelLifecycle) -> Callable[[str, Path], int]:
    """A file as a published version of a model that serves nobody."""

    def publish(model: str, file: Path) -> int:
        card = (SHIPPED / model / "README.md").read_text()
        version = lifecycle.register(model, Registration(onnx_path=file, card=card))
        lifecycle.publish(model, version, file, (SHIPPED / model / "config.pbtxt").read_text(), card=card)
        return version

    return publish


@pytest.fixture(scope="module")
def champion(publish: Callable[[str, Path], int], lifecycle: ModelLifecycle) -> int:
    version = publish(MODEL, SHIPPED / MODEL / "1" / "model.onnx")
    lifecycle.record(MODEL, version, Verdict(SMOKE_TEST, True, "right"))
    lifecycle.promote(MODEL, version)
    return version


@pytest.fixture(scope="module")
def recorded(champion: int, platform_settings: PlatformSettings) -> None:
    """Two minutes of a camera, as the recorder stored them while the champion served."""
    assert champion
    with TritonClient(platform_settings.triton_grpc) as client:
        observations = analysed(seen(CAMERA, SINCE, timedelta(minutes=MINUTES)), RemoteForecaster(client))
    with connect(platform_settings.database_url, application_name="test") as connection:
        upsert_camera(connection, CAMERA, PLANE.as_mapping())
        write_observations(connection, observations)


@pytest.fixture(scope="module")
def worse(publish: Callable[[str, Path], int], champion: int, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A version whose paths end elsewhere: its matrices are doubled."""
    assert champion
    model = onnx.load(str(SHIPPED / MODEL / "1" / "model.onnx"))
    matrices = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 2]
    for tensor in matrices:
        tensor.CopyFrom(numpy_helper.from_array((2.0 * numpy_helper.to_array(tensor)).astype(np.float32), tensor.name))
    path = tmp_path_factory.mktemp("worse") / "model.onnx"
    onnx.save(model, str(path))
    return publish(MODEL, path)


def run(platform: Platform, *arguments: str, expected: int) -> tuple[str, dict[str, object]]:
    target = platform.state_dir / "replay.json"
    command = ["replay", *arguments, "--state-dir", str(platform.state_dir), "--json", str(target)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == expected, f"{result.output}{result.exception or ''}"
    return f"{result.output}{result.exception or ''}", json.loads(target.read_text()) if target.exists() else {}


@pytest.mark.usefixtures("recorded")
def test_the_champion_beside_itself_makes_what_was_recorded(
    platform: Platform, platform_settings: PlatformSettings, champion: int
) -> None:
    shown, figures = run(platform, "--camera", CAMERA, "--version", str(champion), expected=0)
    assert figures["frames"] == 5 * 60 * MINUTES
    assert figures["detections"] == {"champion": 1800, "challenger": 1800, "matched": 1800, "added": 0, "lost": 0}
    assert figures["identity_agreement"] == 1.0
    assert figures["champion_ade"] == figures["challenger_ade"]
    with connect(platform_settings.database_url, application_name="test") as connection:
        stored = connection.execute(
            "SELECT count(*), avg(ade) FROM forecast_scores WHERE camera_id = %s AND status = 'scored'", (CAMERA,)
        ).fetchone()
    assert stored is not None
    assert (figures["windows"], figures["champion_ade"]) == (stored[0], pytest.approx(stored[1], abs=1e-5))
    assert "✓ replay: 600 frames" in shown


@pytest.mark.usefixtures("recorded")
def test_an_interval_is_what_is_replayed(platform: Platform, champion: int) -> None:
    span = ["--since", "2026-03-01T12:00:00Z", "--until", "2026-03-01T12:00:30Z"]
    _, figures = run(platform, "--camera", CAMERA, "--version", str(champion), *span, expected=0)
    assert figures["frames"] == 150
    shown, _ = run(platform, "--camera", "nobody", expected=1)
    assert "camera nobody: nothing was recorded" in shown
    shown, _ = run(platform, "--version", "99", expected=1)
    assert "no version 99" in shown


@pytest.mark.usefixtures("recorded")
def test_a_challenger_that_replays_worse_is_not_promoted(
    platform: Platform,
    platform_settings: PlatformSettings,
    lifecycle: ModelLifecycle,
    champion: int,
    worse: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in settings_variables(platform_settings).items():
        monkeypatch.setenv(name, value)
    _, figures = run(platform, "--camera", CAMERA, "--version", str(worse), expected=1)
    assert figures["challenger_ade"] > 1.05 * figures["champion_ade"]  # type: ignore[operator]
    lifecycle.record(MODEL, worse, Verdict(SMOKE_TEST, True, "right"))
    served_as = lifecycle.deploy_challenger(MODEL, worse, run="1")
    with TritonClient(platform_settings.triton_grpc) as client:
        assert client.ready(served_as, str(worse))
    verdict = replay_interval(platform_settings, MODEL, worse, [CAMERA], MINUTES)
    assert (verdict.passed, verdict.against) == (False, champion)
    # The gate asks the live challenger, the command had its file: the answers are the same.
    assert verdict.numbers["challenger_ade"] == pytest.approx(figures["challenger_ade"], rel=1e-4)
    with pytest.raises(GateFailedError, match="failed replay: .* worse, expected at most 5%"):
        steps.promote_model(platform_settings, MODEL, worse)
    assert finish(platform_settings, MODEL, "run", None, run="1") == champion
    assert lifecycle.champion(MODEL) == champion
    stored = {each.gate: each for each in lifecycle.verdicts(MODEL, worse)}
    assert stored["replay"].reason == verdict.reason


def test_a_detector_is_replayed_on_archived_frames(
    platform: Platform,
    platform_settings: PlatformSettings,
    lifecycle: ModelLifecycle,
    publish: Callable[[str, Path], int],
) -> None:
    version = publish("detector", SHIPPED / "detector" / "1" / "model.onnx")
    rows = FrameArchive.connect(platform_settings).put([frame("pictured", number) for number in range(20)])
    with connect(platform_settings.database_url, application_name="test") as connection:
        write_frames(connection, rows)
        write_observations(connection, [observation("pictured", number) for number in range(20)])
    arguments = ["--camera", "pictured", "--model", "detector", "--version", str(version), "--against", str(version)]
    shown, figures = run(platform, *arguments, "--since", "2026-03-01T11:00Z", expected=0)
    assert figures["frames"] == 20
    assert "no forecast of both was scored" in shown


def test_a_family_that_is_no_part_of_the_analyzer_has_nothing_recorded(platform_settings: PlatformSettings) -> None:
    from pathcast.training.replay import replay_version

    with pytest.raises(InvalidInputError, match="no part of the analyzer"):
        replay_version(platform_settings, "support.toy_family:FAMILY", 2, 1, [])


@pytest.mark.usefixtures("recorded")
def test_a_version_that_the_analyzer_cannot_ask_neither_serves_nor_is_replayed(
    platform: Platform,
    platform_settings: PlatformSettings,
    lifecycle: ModelLifecycle,
    champion: int,
    worse: int,
    tmp_path: Path,
) -> None:
    model = onnx.load(str(SHIPPED / MODEL / "1" / "model.onnx"))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("observed", TensorProto.FLOAT, ["n", 8, 2]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 8, 5), np.float32), "neighbours"))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    registry = ModelRegistry(platform_settings.mlflow_tracking_uri)
    before = lifecycle.register(MODEL, Registration(onnx_path=path, card=""))
    lifecycle.publish(MODEL, before, path, render_config(MODEL, path), card="")
    lifecycle.record(MODEL, before, Verdict(SMOKE_TEST, True, "right"))
    misfit = "expected inputs observed, neighbours and outputs paths, log_probs, got observed and"
    with pytest.raises(GateFailedError, match=misfit):
        lifecycle.promote(MODEL, before)
    registry.tag(MODEL, champion, {REPLACED: str(before)})
    with pytest.raises(GateFailedError, match=misfit):
        lifecycle.roll_back(MODEL, "a test")
    assert (lifecycle.champion(MODEL), failed(lifecycle.verdicts(MODEL, champion))) == (champion, [])
    shown, _ = run(platform, "--camera", CAMERA, "--version", str(before), expected=1)
    assert misfit in " ".join(shown.split())
    # A champion of the release before can be replaced all the same.
    registry.set_alias(MODEL, CHAMPION, before)
    verdict = replay_interval(platform_settings, MODEL, worse, [CAMERA], MINUTES)
    registry.set_alias(MODEL, CHAMPION, champion)
    assert (verdict.passed, verdict.against) == (True, before)
    assert f"the champion is of another release and cannot be replayed: {misfit}" in verdict.reason
