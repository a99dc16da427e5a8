"""The actions family from clips to a promoted ensemble, by the pipeline that knows nothing of actions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.clips import moving_square, write_strips

from pathcast.core.settings import PlatformSettings
from pathcast.export.parity import open_session
from pathcast.local.platform import Platform
from pathcast.registry.publishing import ModelLifecycle, challenger_of
from pathcast.registry.shipped import FOLDER, publish_shipped
from pathcast.serving.triton_client import TritonClient

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

TESTS = Path(__file__).parents[1]
TINY = {"glance": 16, "input_size": 32, "selected": 3, "units": 8, "variants": 1, "epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def outcome(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("run")
    selection = json.dumps({"source": str(write_strips(folder / "raw", 15))})
    command = [sys.executable, "-m", "pathcast", "pipeline", "run", "train_model", "--set", "family=actions"]
    command += ["--set", f"selection={selection}", "--set", "preparation=" + json.dumps({"frames": 6, "size": 32})]
    command += ["--set", f"training={json.dumps(TINY)}", "--set", "min_samples=10"]
    command += ["--state-dir", str(platform.state_dir), "--json", str(folder / "outcome.json")]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    return dict(json.loads((folder / "outcome.json").read_text()))


def test_clips_become_a_served_ensemble(
    outcome: dict[str, object], platform_settings: PlatformSettings, tmp_path: Path
) -> None:
    gates = outcome["gates"]
    assert isinstance(gates, dict)
    assert all(gate["passed"] for gate in gates.values()), gates
    version = outcome["champion"]
    assert version == outcome["version"] is not None
    clips = np.stack([moving_square(seed, moves=True, frames=6) for seed in range(2)])
    with TritonClient(platform_settings.triton_grpc) as client:
        answer = client.infer("actions", {"frames": clips})
        scores = client.infer("frame_selector", {"frames": clips}, version=str(version)).outputs["frame_scores"]
        assert not client.ready(challenger_of("actions"))
        assert not client.ready(challenger_of("frame_selector"))
    assert answer.outputs["probabilities"].sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert np.allclose(answer.outputs["frame_scores"], scores, atol=1e-6)
    assert ModelLifecycle(platform_settings).champion("actions") == version


def test_the_shipped_ensemble_takes_its_place(outcome: dict[str, object], platform_settings: PlatformSettings) -> None:
    published = publish_shipped(platform_settings, "actions")
    assert published.version != outcome["champion"]
    assert ModelLifecycle(platform_settings).champion("actions") == published.version
    clip = np.stack([moving_square(number, moves=True, frames=20, side=112) for number in range(2)])
    with TritonClient(platform_settings.triton_grpc) as client:
        answer = client.infer("actions", {"frames": clip})
        parts = [name for name in ("frame_selector", "action_recogniser") if client.ready(name, answer.model_version)]
    expected = open_session(FOLDER / "actions" / "1" / "model.onnx").run(["probabilities"], {"frames": clip})[0]
    assert answer.model_version == str(published.version)
    assert parts == ["frame_selector", "action_recogniser"]
    np.testing.assert_allclose(answer.outputs["probabilities"], expected, atol=1e-3)
