"""How much a network computes: multiplications with an addition, of one sample."""

from __future__ import annotations

import math

import keras
from keras import layers


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of convolutions, dense layers and LSTMs; what else a network does is little beside them.

    Nested models are not counted: count them alone, by how often they run.
    """
    return sum(_of_layer(layer) for layer in model.layers)


def _of_layer(layer: keras.Layer) -> int:
    if isinstance(layer, layers.LSTM):
        _, steps, size = layer.input.shape
        return int(steps * 4 * layer.units * (size + layer.units))
    if isinstance(layer, layers.DepthwiseConv2D):
        return _values(layer) * int(math.prod(layer.kernel_size))
    if isinstance(layer, layers.Conv2D):
        return _values(layer) * int(math.prod(layer.kernel_size)) * int(layer.input.shape[-1])
    if isinstance(layer, layers.Dense):
        return _values(layer) * int(layer.input.shape[-1])
    return 0


def _values(layer: keras.Layer) -> int:
    return int(math.prod(layer.output.shape[1:]))
