"""Dropout that does not know how many workers there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_DRAWS_PER_STEP = 1000
"""More than one layer's calls in a step; the noise of different steps never meets."""


@dataclass(slots=True)
class BatchPart:
    """The rows at work, set while a step is traced: from `first` on, of a global batch of `rows`; both scalars."""

    rows: Any = 0
    first: Any = 0


class _SharedNoise:
    """Draws the noise of the whole global batch and uses that of its own rows."""

    part: BatchPart

    def call(self: Any, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        if self.rate == 1:
            return tf.zeros_like(inputs)
        shape = tf.shape(inputs)
        spatial = hasattr(self, "_get_noise_shape")
        given = self._get_noise_shape(inputs) if spatial else self.noise_shape or (None,) * len(inputs.shape)
        sizes = [shape[axis] if size is None else size for axis, size in enumerate(given)]
        noise = keras.random.uniform(tf.stack([self.part.rows, *sizes[1:]]), dtype="float32", seed=self.seed_generator)
        kept = noise[self.part.first : self.part.first + shape[0]] >= self.rate
        return tf.where(kept, inputs / (1.0 - self.rate), tf.zeros((), inputs.dtype))


class SharedDropout(_SharedNoise, keras.layers.Dropout):  # type: ignore[misc]
    """Dropout by global row."""


class SharedSpatialDropout1D(_SharedNoise, keras.layers.SpatialDropout1D):  # type: ignore[misc]
    """Spatial dropout by global row."""


class SharedSpatialDropout2D(_SharedNoise, keras.layers.SpatialDropout2D):  # type: ignore[misc]
    """Spatial dropout by global row."""


_COUNTERPARTS: dict[type, type] = {
    keras.layers.Dropout: SharedDropout,
    keras.layers.SpatialDropout1D: SharedSpatialDropout1D,
    keras.layers.SpatialDropout2D: SharedSpatialDropout2D,
}


def share_dropout(model: keras.Model, part: BatchPart) -> list[Any]:
    """Make the network's dropout layers drop by global row, so that any split of a batch drops the same.

    Returns them. Layers of other kinds that draw at random draw for each worker anew.
    """
    layers = [layer for layer in _all_layers(model) if type(layer) in _COUNTERPARTS]
    for layer in layers:
        # The layer is one of a finished graph: its kind is changed in place, its state and name stay.
        layer.__class__ = _COUNTERPARTS[type(layer)]
        layer.part = part
    return [layer for layer in layers if layer.rate > 0]


def rewind(layers: list[Any], step: Any) -> None:
    """Let the layers draw what belongs to `step` (a scalar), whatever they drew before."""
    for layer in layers:
        state = layer.seed_generator.state
        state.assign(tf.stack([state.value[0], tf.cast(step * _DRAWS_PER_STEP, state.dtype)]))


def _all_layers(model: keras.Model) -> list[Any]:
    return list(model._flatten_layers(include_self=False))
