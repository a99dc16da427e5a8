"""The shipped action recogniser's scores on clips that it has not seen must not fall below those in floors.toml."""

import os
import tomllib
from pathlib import Path

import pytest

from pathcast.training.family import find_family
from pathcast.training.prepared import prepare

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data")) / "fights"
FLOORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["actions"]["shipped"]


def test_the_shipped_actions_on_the_clips_held_out(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there (PATHCAST_DATA names the data folder)")
    family = find_family("actions")
    data = prepare(family, DATA, tmp_path / "data")
    evaluation = family.evaluate(ROOT / "model_repo" / "actions" / "1" / "model.onnx", data.folder)
    assert evaluation.samples == FLOORS["samples"]
    assert evaluation.metrics["balanced_accuracy"] >= FLOORS["balanced_accuracy"]
    assert evaluation.metrics["calibration_error"] <= FLOORS["calibration_error"]
