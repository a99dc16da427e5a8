"""Trainings of a pipeline: in processes of this machine, or as a job of the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings

LOCAL, TFJOB, TRAINJOB = "local", "tfjob", "trainjob"
LAUNCHERS = (LOCAL, TFJOB, TRAINJOB)
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Training:
    """What `pathcast train` is to do: `changes` to the family's settings, by name; `initial` are weights to begin with.

    `output` is a folder that does not exist yet.
    """

    family: str
    prepared: Path
    output: Path
    changes: Mapping[str, Any]
    initial: Path | None = None

    def arguments(self, *options: str) -> list[str]:
        """The command's arguments."""
        given = [self.family, f"--data={self.prepared}", f"--output={self.output}"]
        given += [f"--set={name}={json.dumps(value)}" for name, value in self.changes.items()]
        given += [] if self.initial is None else [f"--init={self.initial}"]
        return [*given, *options]


@dataclass(frozen=True, slots=True)
class Crew:
    """Who trains: `launcher` is local, tfjob (Training Operator v1) or trainjob (Kubeflow Trainer v2).

    `gpus` are those of each worker of a job, on nodes with the labels `nodes`.
    """

    launcher: str = LOCAL
    workers: int = 1
    gpus: int = 0
    nodes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.launcher not in LAUNCHERS:
            raise InvalidInputError(f"launcher: expected one of {', '.join(LAUNCHERS)}, got {self.launcher!r}")
        if self.workers < 1 or self.gpus < 0:
            raise InvalidInputError(f"workers: expected 1 or more, and no less than 0 GPUs, got {self}")


def launch_training(training: Training, crew: Crew, settings: PlatformSettings) -> None:
    """Train into `training.output`; what the workers print is printed as it comes.

    Raises PathcastError, with the last lines of the worker that failed.
    """
    if crew.launcher == LOCAL:
        _launch_here(training.arguments(f"--workers={crew.workers}"), settings)
        return
    from pathcast.training.cluster_jobs import launch_job

    launch_job(training, crew, settings.workspace)


def _launch_here(arguments: list[str], settings: PlatformSettings) -> None:
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
