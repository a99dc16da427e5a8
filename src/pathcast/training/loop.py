"""The training loop: what a family brings is a `Task`, the rest is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pathcast.core.errors import PathcastError
from pathcast.training.settings import TrainingSettings
from pathcast.training.share import Share


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

    def validation(self, model: keras.Model) -> Callable[[], Mapping[str, float]]:
        """What gives figures of the network's weights of the moment; early stopping wants `score` small."""
        ...


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to. `figures` are the task's validation figures."""

    epoch: int
    epochs: int
    loss: float
    figures: Mapping[str, float]
    best: bool


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


def fit(
    task: Task, settings: TrainingSettings, *, on_epoch: Callable[[EpochReport], None] = lambda report: None
) -> Fit:
    """Train with AdamW, a warmed-up cosine schedule, clipping, averaged weights and early stopping.

    The same task, settings and thread counts give the same weights. Raises PathcastError when the loss is no
    longer finite.
    """
    keras.utils.set_random_seed(settings.seed)
    model = task.build()
    variables = [variable.value for variable in model.trainable_variables]
    averages = [tf.Variable(variable, trainable=False) for variable in variables]
    optimizer = keras.optimizers.AdamW(
        settings.learning_rate, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm
    )
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def train_step(batch: tuple[Any, ...], elapsed: Any, decay: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = task.loss(model, batch, elapsed)
        optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
        for average, variable in zip(averages, variables, strict=True):
            average.assign_sub((1.0 - decay) * (average - variable))
        return loss

    per_epoch = task.steps_per_epoch(settings.batch_size)
    steps = per_epoch * settings.epochs
    step = 0
    validate = task.validation(model)
    start = validate()
    best_score = start["score"]
    best_weights = [average.numpy() for average in averages]
    best_epoch = 0
    reports: list[EpochReport] = []
    for epoch in range(1, settings.epochs + 1):
        losses: list[Any] = []
        for batch in task.batches(settings.batch_size, np.random.default_rng([settings.seed, epoch]), Share()):
            optimizer.learning_rate.assign(settings.learning_rate_at(step, steps))
            # The average of the first steps must not hang on to the initial weights.
            decay = min(settings.ema, (1.0 + step) / (10.0 + step))
            losses.append(
                train_step(tuple(map(tf.constant, batch)), tf.constant(step / steps, tf.float32), tf.constant(decay))
            )
            step += 1
        loss = float(np.mean(losses))
        if not np.isfinite(loss):
            raise PathcastError(
                f"training: the loss of epoch {epoch} is {loss}", hint="lower the learning rate or look at the data"
            )
        live = [variable.numpy() for variable in variables]
        _assign(variables, [average.numpy() for average in averages])
        figures = validate()
        improved = figures["score"] < best_score
        if improved:
            best_score, best_epoch = figures["score"], epoch
            best_weights = [average.numpy() for average in averages]
        _assign(variables, live)
        reports.append(EpochReport(epoch, settings.epochs, loss, figures, improved))
        on_epoch(reports[-1])
        if epoch - best_epoch >= settings.patience:
            break
    _assign(variables, best_weights)
    return Fit(model, start, tuple(reports))


def _assign(variables: list[Any], values: list[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
