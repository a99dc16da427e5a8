"""The shipped sign classifier's scores on GTSRB's test pictures must not fall below the figures in floors.toml."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data")) / "gtsrb"
FLOORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["signs"]["shipped"]


def test_the_shipped_signs_on_the_test_pictures(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there (PATHCAST_DATA names the data folder)")
    target = tmp_path / "scores.json"
    arguments = ["evaluate", "signs", "--data", str(DATA), "--json", str(target)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    scores = json.loads(target.read_text())
    assert scores["samples"] == FLOORS["samples"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert scores[name] >= FLOORS[name], name
    assert scores["calibration_error"] <= FLOORS["calibration_error"]
