"""Drift on real clips: a changed clip alarms within one window, and of 20 undisturbed windows one at most does."""

import json
import os
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.bench_drift import CLIPS
from pathcast.cli.main import app
from pathcast.monitoring.benchmark import CHANGES

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data"))
FLOORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["drift"]
PLAYED = ("vtest", "one-by-one", "sobral-1")


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_what_alarms_is_what_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if absent := [name for name in PLAYED if not (DATA / CLIPS[name][0]).exists()]:
        pytest.skip(f"{', '.join(absent)} not in {DATA} (PATHCAST_DATA names the data folder)")
    monkeypatch.chdir(ROOT)
    target = tmp_path / "drift.json"
    arguments = ["bench", "drift", "--data", str(DATA), "--json", str(target)]
    for name in PLAYED:
        arguments += ["--clip", name]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(target.read_text())["rows"]}
    assert rows["all, as it is"]["unit"] == f"of {FLOORS['windows']} windows alarmed"
    assert rows["all, as it is"]["value"] <= FLOORS["undisturbed"], result.output
    for change in CHANGES:
        assert rows[f"all, {change}"]["value"] >= FLOORS[change], result.output
