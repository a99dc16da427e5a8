"""The training loop: what a family brings is a `Task`, the rest is the same for all.

Alone or with other workers, the same code: workers share every batch, sum their gradients and so take the same
steps. They share the validation as well; the chief writes checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.training.checkpoint import Checkpoint, write_atomically
from pathcast.training.settings import Precision, TrainingSettings
from pathcast.training.share import Share
from pathcast.training.step import TrainingStep
from pathcast.training.workers import Workers


class Task(Protocol):
    """One training job of a model family."""

    def build(self) -> keras.Model:
        """The network to train, with its initial weights."""
        ...

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of batches that `batches` gives."""
        ...

    def batches(
        self, batch_size: int, random: np.random.Generator, share: Share
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        """One epoch of batches, all of the same shapes; the order and the variations come from `random`.

        `random` is the same on every worker and new in every epoch. Each global batch of `batch_size` samples is
        given as the rows `share.of(rows)`. A sample's variation must not depend on who computes it: draw for all
        samples at once, or, where varying is costly, one seed a sample.
        """
        ...

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        """The mean loss of a batch, traced once; `elapsed` is the share of training done, a scalar in [0, 1]."""
        ...

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        """What gives figures of the network's weights of the moment; early stopping wants `score` small.

        Every worker calls it and the chief's figures count, so each may look at its part of the samples alone
        (`workers.share.span`) and give what it found to the others (`workers.gather`).
        """
        ...


@runtime_checkable
class ComparingTask(Protocol):
    """A task whose loss compares the samples of a piece with each other."""

    def require_piece(self, samples: int) -> None:
        """Raise InvalidInputError where nothing is learned from pieces of so many samples."""
        ...


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to. `figures` are the task's validation figures; `seconds` include the validation."""

    epoch: int
    epochs: int
    loss: float
    figures: Mapping[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The network with the weights of the best epoch, and how it went; `start` is the validation before step 0."""

    model: keras.Model
    start: Mapping[str, float]
    reports: tuple[EpochReport, ...]

    @property
    def best(self) -> EpochReport | None:
        """The epoch whose weights were kept; None when none was better than the initial weights."""
        return next((report for report in reversed(self.reports) if report.best), None)


def _ignore(*_: Any) -> None:
    """No progress wanted."""


def fit(
    task: Task,
    settings: TrainingSettings,
    *,
    on_epoch: Callable[[EpochReport], None] = _ignore,
    on_step: Callable[[int, int], None] = _ignore,
    workers: Workers | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Fit:
    """Train with AdamW, a warmed-up cosine schedule, clipping, averaged weights and early stopping.

    The same task, settings and thread counts give the same weights; another number of workers, the same up to
    rounding where the loss of a batch is the mean of its pieces'. `on_step` is called with the steps done and all
    steps. With `checkpoint`, the chief writes that file after each epoch and every `checkpoint_steps`; with `resume`,
    training goes on from it where it exists. `about`, JSON-able, is what else must be the same on all workers and when
    resuming: the data's version, say.

    Raises PathcastError when the loss is no longer finite, InvalidInputError when the checkpoint or the pieces of a
    batch do not fit, WorkerLostError when another worker is gone.
    """
    together = workers or Workers()
    with together.watch():
        return _Training(task, settings, together, checkpoint, about or {}, on_epoch, on_step).run(resume)


class _Training:
    """One call of `fit`."""

    def __init__(
        self,
        task: Task,
        settings: TrainingSettings,
        workers: Workers,
        checkpoint: Path | None,
        about: Mapping[str, Any],
        on_epoch: Callable[[EpochReport], None],
        on_step: Callable[[int, int], None],
    ) -> None:
        if settings.batch_size % (workers.share.count * settings.accumulate):
            raise InvalidInputError(
                f"training: expected a batch_size that {workers.share.count} workers in {settings.accumulate} pieces "
                f"each can share evenly, got {settings.batch_size}"
            )
        if isinstance(task, ComparingTask):
            task.require_piece(settings.batch_size // (workers.share.count * settings.accumulate))
        self._task, self._settings, self._workers, self._file = task, settings, workers, checkpoint
        self._about, self._on_epoch, self._on_step = about, on_epoch, on_step
        keras.utils.set_random_seed(settings.seed)
        with _precision(settings.precision):
            self._model = task.build()
        self._step = TrainingStep(task, self._model, settings, workers)
        self._per_epoch = task.steps_per_epoch(settings.batch_size)
        self._done = 0
        self._epoch, self._step_of_epoch = 1, 0
        self._losses: list[Any] = []
        self._reports: list[EpochReport] = []
        self._start: dict[str, float] = {}
        self._best: list[npt.NDArray[Any]] = []
        self._validate = task.validation(self._model, workers)

    def run(self, resume: bool) -> Fit:
        self._workers.require_agreement("settings, data or initial weights", self._digest())
        if not (resume and self._restore()):
            self._start = self._figures()
            self._best = self._step.kept_weights()
        while not self._finished():
            self._run_epoch()
            self._save()
        self._step.use(self._best)
        return Fit(self._model, self._start, tuple(self._reports))

    def _run_epoch(self) -> None:
        settings, began = self._settings, time.perf_counter()
        random = np.random.default_rng([settings.seed, self._epoch])
        steps = self._per_epoch * settings.epochs
        for number, batch in enumerate(self._task.batches(settings.batch_size, random, self._workers.share)):
            if number < self._step_of_epoch:
                continue
            self._losses.append(self._step.take(batch, self._done, steps))
            self._done += 1
            self._step_of_epoch = number + 1
            self._on_step(self._done, steps)
            every = settings.checkpoint_steps
            if every and self._done % every == 0 and self._step_of_epoch < self._per_epoch:
                self._save()
        loss = float(np.mean(np.asarray(self._losses, np.float32)))
        if not math.isfinite(loss):
            raise PathcastError(
                f"training: the loss of epoch {self._epoch} is {loss}",
                hint="lower the learning rate or look at the data",
            )
        kept = self._step.kept_weights()
        self._step.use(kept)
        figures = self._figures()
        self._step.use_live()
        improved = figures["score"] < self._best_score()
        if improved:
            self._best = kept
        seconds = time.perf_counter() - began
        self._reports.append(EpochReport(self._epoch, settings.epochs, loss, figures, improved, seconds))
        self._epoch, self._step_of_epoch, self._losses = self._epoch + 1, 0, []
        self._on_epoch(self._reports[-1])

    def _finished(self) -> bool:
        best_epoch = max((report.epoch for report in self._reports if report.best), default=0)
        stale = bool(self._reports) and self._reports[-1].epoch - best_epoch >= self._settings.patience
        return stale or self._epoch > self._settings.epochs

    def _best_score(self) -> float:
        scores = [report.figures["score"] for report in self._reports if report.best]
        return scores[-1] if scores else self._start["score"]

    def _figures(self) -> dict[str, float]:
        """The chief's validation figures, on every worker."""
        own = json.dumps({name: float(value) for name, value in self._validate().items()}).encode()
        figures: dict[str, float] = json.loads(self._workers.broadcast(own if self._workers.is_chief else None))
        return figures

    def _known_settings(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(json.dumps({**self._settings.as_mapping(), **self._about}))
        # How a batch is cut into pieces and how often it is saved may change on the way.
        for name in ("accumulate", "checkpoint_steps"):
            known.pop(name)
        return {**known, "steps_per_epoch": self._per_epoch}

    def _digest(self) -> bytes:
        digest = hashlib.sha256(json.dumps(self._known_settings(), sort_keys=True).encode())
        for variable in self._model.variables:
            digest.update(variable.value.numpy().tobytes())
        return digest.digest()

    def _save(self) -> None:
        if self._file is None or not self._workers.is_chief:
            return
        checkpoint = Checkpoint(
            self._done,
            self._epoch,
            self._step_of_epoch,
            np.asarray(self._losses, np.float32),
            [variable.numpy() for variable in self._step.state],
            self._best,
            {"start": self._start, "reports": [asdict(report) for report in self._reports]},
            self._known_settings(),
        )
        write_atomically(self._file, checkpoint.to_bytes())

    def _restore(self) -> bool:
        """Go on from the chief's checkpoint, if it has one; the others need no file."""
        found = b""
        if self._workers.is_chief and self._file is not None and self._file.is_file():
            found = self._file.read_bytes()
        data = self._workers.broadcast(found if self._workers.is_chief else None)
        if not data:
            return False
        where = str(self._file)
        checkpoint = Checkpoint.from_bytes(data, where)
        checkpoint.require_settings(self._known_settings(), where)
        variables = self._step.state
        shapes = [tuple(variable.shape) for variable in variables]
        if shapes != [array.shape for array in checkpoint.state]:
            raise InvalidInputError(
                f"{where}: holds the variables of another network",
                hint="resume with the same settings, or delete the file to start anew",
            )
        for variable, array in zip(variables, checkpoint.state, strict=True):
            variable.assign(array)
        self._done, self._epoch = checkpoint.step, checkpoint.epoch
        self._step_of_epoch, self._losses = checkpoint.step_of_epoch, list(checkpoint.losses)
        self._best = list(checkpoint.best)
        self._start = dict(checkpoint.progress["start"])
        self._reports = [EpochReport(**report) for report in checkpoint.progress["reports"]]
        return True


@contextmanager
def _precision(precision: Precision) -> Iterator[None]:
    """Build layers that compute in this precision; float32 leaves the caller's policy alone."""
    before = keras.config.dtype_policy()
    if precision != "float32":
        keras.config.set_dtype_policy(f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
