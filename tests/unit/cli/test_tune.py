from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support import toy_family
from typer.testing import CliRunner

from pathcast.cli.key_values import pairs
from pathcast.cli.main import app
from pathcast.cli.tune import _prepared, _report
from pathcast.core.errors import InvalidInputError
from pathcast.training.tracker_tuning import TrackerSearch
from pathcast.training.tuning import STUDY_FILE


def test_what_a_search_of_the_tracker_found_is_printed_as_the_command_that_scores_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"confirm_hits": 2, "motion.measurement_std": 0.1, "appearance": None}
    summary = {"best": 61.0, "best_trial": 3, "start": 60.0, "trials": {"complete": 4}, "settings": settings}
    _report(Console(), TrackerSearch((), (), {}), summary, Path("tune-tracker"))
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:3] == ["pathcast", "evaluate", "tracker"]
    assert pairs("--set", [part for part in command[3:] if part != "--set"]) == settings


def test_a_search_that_is_refused_leaves_the_data_of_the_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).write_text("")
    arguments = ["tune", "forecaster", "--data", str(tmp_path / "raw"), "--output", str(tmp_path)]
    with pytest.raises(InvalidInputError, match="a search lies there"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == [STUDY_FILE]


def test_a_search_that_goes_on_keeps_its_data(tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "search" / "data"
    raw.mkdir()
    toy_family._select(None, raw, None)
    assert _prepared(toy_family.FAMILY, raw, folder, {}, False) == folder
    before = (folder / "train.npz").stat()
    assert _prepared(toy_family.FAMILY, raw, folder, {}, True) == folder
    x, y = toy_family.points(sum(toy_family.PARTS.values()), seed=8)
    np.savez(raw / "points.npz", x=x, y=y)
    with pytest.raises(InvalidInputError, match="prepared from other data"):
        _prepared(toy_family.FAMILY, raw, folder, {}, True)
    after = (folder / "train.npz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in folder.parent.iterdir()] == ["data"]
