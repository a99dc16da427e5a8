from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from rich.console import Console

from pathcast.cli.key_values import pairs
from pathcast.cli.tune import _report
from pathcast.training.tracker_tuning import TrackerSearch


def test_what_a_search_of_the_tracker_found_is_printed_as_the_command_that_scores_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"confirm_hits": 2, "motion.measurement_std": 0.1, "appearance": None}
    summary = {"best": 61.0, "best_trial": 3, "start": 60.0, "trials": {"complete": 4}, "settings": settings}
    _report(Console(), TrackerSearch((), (), {}), summary, Path("tune-tracker"))
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:3] == ["pathcast", "evaluate", "tracker"]
    assert pairs("--set", [part for part in command[3:] if part != "--set"]) == settings
