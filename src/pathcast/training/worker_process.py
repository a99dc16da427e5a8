"""A worker process's side of the local launcher's contract.

A worker in a TFJob's pod has none of this: there, Kubernetes starts, watches and stops it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.loop import EpochReport

_STEP_EVERY_S = 0.2


class EventWriter:
    """A training's watcher that writes events for the launcher."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor, self._clock = descriptor, clock
        self._last = -1.0

    def started(self, record: Mapping[str, Any]) -> None:
        self._write({"event": "started", "record": dict(record)})

    def stepped(self, done: int, steps: int) -> None:
        if done == steps or self._clock() - self._last >= _STEP_EVERY_S:
            self._last = self._clock()
            self._write({"event": "stepped", "done": done, "steps": steps})

    def epoch_ended(self, report: EpochReport) -> None:
        self._write({"event": "epoch_ended", "report": asdict(report)})

    def finished(self, folder: Path, model: TrainedModel) -> None:
        self._write({"event": "finished"})

    def _write(self, event: Mapping[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._descriptor, data) :]


class LineWriter:
    """A training's watcher that writes a line an epoch, for a container's log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def started(self, record: Mapping[str, Any]) -> None:
        self._line(f"{record['family']}: {record['workers']} workers, data {record['data_version'][:12]}")

    def stepped(self, done: int, steps: int) -> None:
        return

    def epoch_ended(self, report: EpochReport) -> None:
        figures = " ".join(f"{name} {value:.4g}" for name, value in report.figures.items())
        self._line(f"epoch {report.epoch}/{report.epochs}: {report.seconds:.1f} s, loss {report.loss:.4g}, {figures}")

    def finished(self, folder: Path, model: TrainedModel) -> None:
        self._line(f"epoch {model.record['best_epoch']} kept, saved in {folder}")

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def end_with_the_launcher() -> None:
    """End this process when the launcher's end of its standard input closes, however the launcher ended."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()
