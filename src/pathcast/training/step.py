"""One step of training: gradients of this worker's rows, one sum over all workers, one update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pathcast.core.errors import InvalidInputError
from pathcast.training.dropout import BatchPart, rewind, share_dropout
from pathcast.training.settings import TrainingSettings
from pathcast.training.workers import Workers

if TYPE_CHECKING:
    from pathcast.training.loop import Task

Batch = tuple[npt.NDArray[Any], ...]


class TrainingStep:
    """The network, its optimiser and the running average of its weights, which take their steps together.

    All gradients and the loss travel as one flat vector, so that a step costs one exchange. Moving statistics
    (of batch normalisation) travel with them and become the mean over workers.
    """

    def __init__(self, task: Task, model: keras.Model, settings: TrainingSettings, workers: Workers) -> None:
        self.model = model
        self._task, self._settings, self._workers = task, settings, workers
        self._trainable = model.trainable_variables
        self._statistics = [v for v in model.non_trainable_variables if "float" in str(v.dtype)]
        self.averages = [tf.Variable(variable.value, trainable=False) for variable in self._trainable]
        self._part = BatchPart()
        self._dropout = share_dropout(model, self._part)
        self._adamw = keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm
        )
        scaled = settings.precision == "float16"
        self._optimizer = keras.optimizers.LossScaleOptimizer(self._adamw) if scaled else self._adamw
        self._optimizer.build(self._trainable)
        self._gradient = tf.function(self._traced_gradient)
        self._update = tf.function(self._traced_update)

    @property
    def state(self) -> list[Any]:
        """Every variable that a checkpoint must hold, in a fixed order."""
        return [*(v.value for v in (*self.model.variables, *self._optimizer.variables)), *self.averages]

    def kept_weights(self) -> list[npt.NDArray[Any]]:
        """Copies of what is validated and kept: the averaged weights, and the statistics as they are."""
        return [variable.numpy() for variable in (*self.averages, *(v.value for v in self._statistics))]

    def live_weights(self) -> list[npt.NDArray[Any]]:
        """Copies of the weights that learn, and of the statistics."""
        return [variable.value.numpy() for variable in (*self._trainable, *self._statistics)]

    def use(self, weights: Sequence[npt.NDArray[Any]]) -> None:
        """Give the network other weights and statistics, as the two methods above return them."""
        for variable, value in zip((*self._trainable, *self._statistics), weights, strict=True):
            variable.assign(value)

    def take(self, batch: Batch, step: int, steps: int) -> Any:
        """Learn from a global batch of which `batch` are this worker's rows; returns its mean loss, a scalar."""
        settings, share = self._settings, self._workers.share
        own, pieces = len(batch[0]), settings.accumulate
        if own == 0 or own % pieces:
            raise InvalidInputError(
                f"training: expected the {own} samples of a worker's batch to be dealt out to {pieces} pieces evenly",
                hint="choose another batch size, number of workers or accumulate",
            )
        self._adamw.learning_rate.assign(settings.learning_rate_at(step, steps))
        elapsed, number = tf.constant(step / steps, tf.float32), tf.constant(step, tf.int64)
        rows, size = tf.constant(own * share.count), own // pieces
        total: Any = None
        for piece in range(pieces):
            part = tuple(tf.constant(array[piece * size : (piece + 1) * size]) for array in batch)
            first = tf.constant(share.index * own + piece * size)
            flat = self._gradient(part, elapsed, number, rows, first)
            total = flat if total is None else total + flat
        # The average of the first steps must not hang on to the initial weights.
        decay = min(settings.ema, (1.0 + step) / (10.0 + step))
        return self._update(total, tf.constant(decay, tf.float32))

    def _traced_gradient(self, batch: Any, elapsed: Any, step: Any, rows: Any, first: Any) -> Any:
        self._part.rows, self._part.first = rows, first
        rewind(self._dropout, step)
        with tf.GradientTape() as tape:
            loss = tf.cast(self._task.loss(self.model, batch, elapsed), tf.float32)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in self._trainable], unconnected_gradients="zero")
        return _flatten([*gradients, loss])

    def _traced_update(self, total: Any, decay: Any) -> Any:
        workers = self._workers.share.count
        mean = total / (workers * self._settings.accumulate)
        statistics = [variable.value / workers for variable in self._statistics]
        shapes = [v.shape for v in self._trainable] + [()] + [v.shape for v in self._statistics]
        parts = _unflatten(self._workers.sum(tf.concat([mean, _flatten(statistics)], 0)), shapes)
        gradients, loss = parts[: len(self._trainable)], parts[len(self._trainable)]
        self._optimizer.apply(gradients, self._trainable)
        for average, variable in zip(self.averages, self._trainable, strict=True):
            average.assign_sub((1.0 - decay) * (average - variable.value))
        for variable, value in zip(self._statistics, parts[len(self._trainable) + 1 :], strict=True):
            variable.assign(value)
        return loss


def _flatten(tensors: Sequence[Any]) -> Any:
    flat = [tf.reshape(tf.cast(tf.convert_to_tensor(tensor), tf.float32), (-1,)) for tensor in tensors]
    return tf.concat(flat, 0) if flat else tf.zeros(0)


def _unflatten(flat: Any, shapes: Sequence[Sequence[int]]) -> list[Any]:
    parts = tf.split(flat, [int(np.prod(shape)) for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]
