"""Processes that may end while they are looked at."""

from collections.abc import Iterable
from contextlib import suppress

import psutil

GONE = (psutil.NoSuchProcess, FileNotFoundError)
"""What psutil raises for one that has ended, or is a zombie."""


def command_lines(processes: Iterable[psutil.Process]) -> dict[psutil.Process, str]:
    """The command line of each process that has not ended."""
    lines = {}
    for process in processes:
        with suppress(*GONE):
            lines[process] = " ".join(process.cmdline())
    return lines
