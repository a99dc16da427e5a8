"""What Kubeflow's local runner prints goes to a file; on the screen is a line for each step, and why one failed."""

from __future__ import annotations

import io
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_BEGUN = re.compile(r"Executing task '([^']+)'")
_ENDED = re.compile(r"Task '([^']+)' finished with status (\w+)")
_COLOUR = re.compile(r"\x1b\[\d+m")
_LAST_LINES = 25


@contextmanager
def runner_log(folder: Path, pipeline: str, console: Console) -> Iterator[Path]:
    """Within the block, what the runner prints goes to the new file that this gives, and its steps to the console."""
    # A console without a file of its own would follow `sys.stdout` into the log.
    console.file = console.file
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pipeline}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.log"
    console.print(f"{pipeline}: the lines of its steps go to {path}", markup=False, highlight=False, soft_wrap=True)
    with (
        path.open("w", encoding="utf-8") as file,
        console.status("") as status,
        redirect_stdout(StepLog(file, console, status)),
        warnings.catch_warnings(),
    ):
        # Of settings that are a cluster's, and of the image that is not run here.
        warnings.filterwarnings("ignore", module=r"kfp\.local")
        yield path


class StepLog(io.TextIOBase):
    """Takes the runner's lines, as `sys.stdout` in its place; `status` shows the newest of them."""

    def __init__(
        self, file: TextIO, console: Console, status: Status, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file, self._console, self._status, self._clock = file, console, status, clock
        self._pending = ""
        self._begun: dict[str, float] = {}
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def write(self, text: str) -> int:
        self._file.write(text)
        self._file.flush()
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._take(_COLOUR.sub("", line).rstrip())
        return len(text)

    def _take(self, line: str) -> None:
        if begun := _BEGUN.search(line):
            self._begun[begun[1]] = self._clock()
            self._last.clear()
        elif ended := _ENDED.search(line):
            self._end(ended[1], ended[2] == "SUCCESS")
        elif line.strip():
            self._last.append(line.strip())
        running = ", ".join(self._begun)
        newest = self._last[-1][:80] if self._last else ""
        self._status.update(f"{running} … [dim]{newest}[/]" if running else "")

    def _end(self, step: str, succeeded: bool) -> None:
        now = self._clock()
        seconds = now - self._begun.pop(step, now)
        if not succeeded:
            for line in self._last:
                self._console.print(f"  | {line}", markup=False, highlight=False)
        mark = "[green]✓[/]" if succeeded else "[red]✗[/]"
        self._console.print(f"{mark} {step} [dim]{seconds:.1f} s[/]", highlight=False)
