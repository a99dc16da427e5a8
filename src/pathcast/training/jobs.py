"""Trainings of a pipeline: in processes of this machine, or as a job of the cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings

LOCAL = "local"
_LAST_LINES = 20


def launch_training(launcher: str, arguments: Sequence[str], workers: int, settings: PlatformSettings) -> None:
    """Run `pathcast train` with `arguments`; its lines are printed as they come.

    Raises PathcastError, with the last lines, where it fails.
    """
    if launcher != LOCAL:
        raise InvalidInputError(f"launcher: expected {LOCAL}, got {launcher!r}")
    command = [sys.executable, "-m", "pathcast", "train", *arguments]
    tracking = {"PATHCAST_MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri.get_secret_value()}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **tracking}
    ) as process:
        assert process.stdout is not None  # noqa: S101
        for line in process.stdout:
            last.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        raise PathcastError(
            f"training ended with exit code {process.returncode}:\n{''.join(last)}", hint="its whole log is above"
        )
