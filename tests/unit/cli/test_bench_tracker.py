from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli import bench_tracker
from pathcast.cli.main import app
from pathcast.tracking.benchmark import crowd, save_and_restore_ms, typical_ms


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_tracker, "_FRAMES", {10: 8, 20: 8})
    monkeypatch.setattr(bench_tracker, "_GROWTH_FROM", 10)
    monkeypatch.setattr(bench_tracker, "_GROWTH_TO", 20)


@pytest.mark.usefixtures("small")
def test_every_tracker_stands_beside_the_fastest_peer(tmp_path: Path) -> None:
    pytest.importorskip("trackers", reason="the peers' library is not installed")
    file = tmp_path / "bench.json"
    result = CliRunner().invoke(app, ["bench", "tracker", "--rounds", "1", "--json", str(file)])
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    names = {
        f"{name}, {n} objects" for name in ("pathcast", "SORT", "ByteTrack", "OC-SORT", "C-BIoU") for n in (10, 20)
    }
    extra = {"pathcast, growth from 10 to 20", "save and restore, 200 tracks", "state, 200 tracks"}
    assert set(rows) == names | extra
    for name in names:
        row = rows[name]
        assert row["unit"] == "ms/update"
        assert row["ratio"] == pytest.approx(row["value"] / rows[row["ratio_to"]]["value"])
        assert row["value"] > 0
    fastest = rows["pathcast, 10 objects"]["ratio_to"]
    assert rows[fastest]["ratio"] == 1.0
    assert rows["save and restore, 200 tracks"]["ratio"] is None


@pytest.mark.usefixtures("small")
def test_ours_alone_has_no_ratio(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    result = CliRunner().invoke(app, ["bench", "tracker", "--rounds", "1", "--no-peers", "--json", str(file)])
    assert result.exit_code == 0, result.output
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] for row in rows[:2]] == ["pathcast, 10 objects", "pathcast, 20 objects"]
    assert rows[0]["ratio"] is None


def test_a_crowd_is_the_same_for_the_same_seed() -> None:
    first, second = crowd(30, 4), crowd(30, 4)
    assert all((one.xyxy == other.xyxy).all() for one, other in zip(first, second, strict=True))
    assert (crowd(30, 1, seed=2)[0].xyxy[:5] != first[0].xyxy[:5]).any()


def test_the_saved_state_is_of_as_many_tracks_as_asked_for() -> None:
    _, size = save_and_restore_ms(20, times=8)
    assert 20 * 232 < size < 20 * 232 + 1500


def test_a_disturbed_frame_counts_with_its_best_round() -> None:
    rounds = [np.array([90.0] * 5 + [1.0, 80.0, 3.0]), np.array([90.0] * 5 + [70.0, 2.0, 60.0])]
    assert typical_ms(rounds) == 2.0
