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
from pathcast.training.normalisation import share_normalisation
from pathcast.training.settings import TrainingSettings
from pathcast.training.workers import Workers

if TYPE_CHECKING:
    from pathcast.training.loop import Task

Batch = tuple[npt.NDArray[Any], ...]


class TrainingStep:
    """The network, its optimiser and the running average of its weights, which take their steps together.

    All weights are one flat vector here, and so are their gradients, which travel with the loss in one exchange a
    step; a network of many small variables would spend more time on starting operations than on computing.
    Moving statistics (of batch normalisation) travel along. Each piece of a batch moves them from where the step
    found them, and their mean over all pieces of all workers is kept: N workers do what one does in N pieces.
    """

    def __init__(self, task: Task, model: keras.Model, settings: TrainingSettings, workers: Workers) -> None:
        self.model = model
        self._task, self._settings, self._workers = task, settings, workers
        self._trainable = [variable.value for variable in model.trainable_variables]
        self._statistics = [variable.value for variable in moving_statistics(model)]
        self._weights = keras.Variable(_flatten(self._trainable).numpy(), name="weights")
        self._averages = tf.Variable(self._weights.value, trainable=False)
        self._part = BatchPart()
        self._dropout = share_dropout(model, self._part)
        if settings.normalisation == "all" and workers.share.count > 1:
            share_normalisation(model, workers)
        self._adamw = keras.optimizers.AdamW(
            settings.learning_rate, weight_decay=settings.weight_decay, global_clipnorm=settings.clip_norm
        )
        scaled = settings.precision == "float16"
        self._optimizer = keras.optimizers.LossScaleOptimizer(self._adamw) if scaled else self._adamw
        self._optimizer.build([self._weights])
        self._gradient = tf.function(self._traced_gradient)
        self._update = tf.function(self._traced_update)

    @property
    def state(self) -> list[Any]:
        """Every variable that a checkpoint must hold, in a fixed order."""
        keras_variables = (*self.model.variables, self._weights, *self._optimizer.variables)
        return [*(variable.value for variable in keras_variables), self._averages]

    def kept_weights(self) -> list[npt.NDArray[Any]]:
        """Copies of what is validated and kept: the averaged weights, and the statistics as they are."""
        averages = self._unflatten(self._averages)
        return [tensor.numpy() for tensor in (*averages, *self._statistics)]

    def use(self, weights: Sequence[npt.NDArray[Any]]) -> None:
        """Give the network other weights and statistics, as `kept_weights` returns them."""
        for variable, value in zip((*self._trainable, *self._statistics), weights, strict=True):
            variable.assign(value)

    def use_live(self) -> None:
        """Give the network the weights that learn."""
        for variable, value in zip(self._trainable, self._unflatten(self._weights.value), strict=True):
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
        before = [tf.identity(variable) for variable in self._statistics]
        with tf.GradientTape() as tape:
            loss = tf.cast(self._task.loss(self.model, batch, elapsed), tf.float32)
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self._trainable, unconnected_gradients="zero")
        flat = _flatten([*gradients, loss, *self._statistics])
        for variable, value in zip(self._statistics, before, strict=True):
            variable.assign(value)
        return flat

    def _traced_update(self, total: Any, decay: Any) -> Any:
        size = self._weights.shape[0]
        summed = self._workers.sum(total / (self._workers.share.count * self._settings.accumulate))
        gradient, loss = summed[:size], summed[size]
        self._optimizer.apply([gradient], [self._weights])
        self._averages.assign_sub((1.0 - decay) * (self._averages - self._weights.value))
        self.use_live()
        for variable, value in zip(self._statistics, _split(summed[size + 1 :], self._statistics), strict=True):
            variable.assign(value)
        return loss

    def _unflatten(self, flat: Any) -> list[Any]:
        return _split(tf.convert_to_tensor(flat), self._trainable)


def moving_statistics(model: keras.Model) -> list[Any]:
    """The variables that layers move by themselves while they learn; those of a frozen layer stay as they are."""
    frozen = [layer for layer in model._flatten_layers(include_self=False) if not layer.trainable]
    still = {id(variable) for layer in frozen for variable in layer.variables}
    return [v for v in model.non_trainable_variables if "float" in str(v.dtype) and id(v) not in still]


def _flatten(tensors: Sequence[Any]) -> Any:
    flat = [tf.reshape(tf.cast(tf.convert_to_tensor(tensor), tf.float32), (-1,)) for tensor in tensors]
    return tf.concat(flat, 0) if flat else tf.zeros(0)


def _split(flat: Any, like: Sequence[Any]) -> list[Any]:
    """A flat vector cut into tensors of the shapes of others."""
    if not like:
        return []
    parts = tf.split(flat, [int(np.prod(tensor.shape)) for tensor in like])
    return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, like, strict=True)]
