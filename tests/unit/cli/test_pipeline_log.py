"""What is seen of a local run: a line for each step; all that the runner prints is in a file."""

from __future__ import annotations

import io
from itertools import count
from pathlib import Path

import pytest
from kfp import local
from rich.console import Console

from components.report_batch.component import report_batch
from pathcast.cli.pipeline_log import StepLog, runner_log

PRINTED = """12:00:00.000 - INFO - Executing task \x1b[96m'select-data'\x1b[0m
    256 samples
12:00:07.000 - INFO - Task \x1b[96m'select-data'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
12:00:07.000 - INFO - Executing task \x1b[96m'train-model'\x1b[0m
    epoch 1 of 3
    error: the loss of epoch 1 is nan
12:00:09.000 - INFO - Task \x1b[96m'train-model'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_steps_are_shown_and_the_end_of_the_one_that_failed(console: Console, piece: int) -> None:
    file, seconds = io.StringIO(), count()
    log = StepLog(file, console, console.status(""), clock=lambda: float(next(seconds)))
    for start in range(0, len(PRINTED), piece):
        log.write(PRINTED[start : start + piece])
    assert file.getvalue() == PRINTED
    assert shown(console) == [
        "✓ select-data 1.0 s",
        "  | epoch 1 of 3",
        "  | error: the loss of epoch 1 is nan",
        "✗ train-model 1.0 s",
    ]


def test_a_console_without_a_file_still_prints_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runner_log(tmp_path, "greeting", Console(width=200)) as path:
        print(PRINTED, end="")
    assert path.read_text() == PRINTED
    screen = capsys.readouterr().out
    assert "✓ select-data" in screen
    assert "  | error: the loss of epoch 1 is nan" in screen
    assert "✗ train-model" in screen


def test_the_runner_s_own_words_are_understood(console: Console, tmp_path: Path) -> None:
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    with runner_log(tmp_path, "greeting", console) as path:
        report_batch(reports=[])
    assert "KFP Executor" in path.read_text()
    lines = shown(console)
    assert "greeting: the lines of its steps go to" in lines[0]
    assert lines[-1].startswith("✓ report-batch ")
    assert not any("KFP Executor" in line for line in lines)
