"""The sign classifier's network in Keras 3, with `keras.ops` only: a spatial transformer and a small residual network.

He et al., Deep residual learning, 2016 (arXiv:1512.03385); Jaderberg et al., Spatial transformer networks, 2015
(arXiv:1506.02025), here of the attentive kind that moves and scales, so that sampling is two products of matrices
and runs everywhere.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pathcast.recognition.sign_classes import CLASS_NAMES
from pathcast.recognition.sign_settings import SIDE, SignSettings

_LEAST_CONTRAST = 4.0
"""Grey levels: an image of one colour must not be blown up to noise."""


@keras.saving.register_keras_serializable(package="pathcast")
class Standardised(layers.Layer):  # type: ignore[misc]
    """Bytes → numbers of mean 0 and deviation 1 about the middle of each image, so that light and haze matter little.

    The middle counts more, by a bell curve of a quarter of the side: there is the sign, around it may be the sky.
    """

    def call(self, images: Any) -> Any:
        side = images.shape[1]
        places = (np.arange(side) - (side - 1) / 2) / (side / 4)
        bell = np.exp(-0.5 * (places[:, None] ** 2 + places[None, :] ** 2))
        weights = ops.convert_to_tensor((bell / bell.sum() / 3)[None, :, :, None], self.compute_dtype)
        pixels = ops.cast(images, self.compute_dtype)
        centred = pixels - ops.sum(weights * pixels, axis=(1, 2, 3), keepdims=True)
        variance = ops.sum(weights * ops.square(centred), axis=(1, 2, 3), keepdims=True)
        return centred / ops.sqrt(variance + _LEAST_CONTRAST**2)


@keras.saving.register_keras_serializable(package="pathcast")
class Window(layers.Layer):  # type: ignore[misc]
    """Images (n, s, s, c) seen through a window (n, 4) → (n, s, s, c), bilinear, 0 outside.

    The window in [-1, 1] is its centre and its log size, y then x, of which a half counts: zeros are the whole image,
    ones a centre a quarter of the side away and a size of 1.65.
    """

    def call(self, images: Any, window: Any) -> Any:
        side, channels = images.shape[1], images.shape[3]
        rows = self._weights(side, window[:, 0], window[:, 2])
        columns = self._weights(side, window[:, 1], window[:, 3])
        values = ops.reshape(
            ops.matmul(rows, ops.reshape(images, (-1, side, side * channels))), (-1, side, side, channels)
        )
        values = ops.reshape(ops.transpose(values, (0, 2, 1, 3)), (-1, side, side * channels))
        return ops.transpose(ops.reshape(ops.matmul(columns, values), (-1, side, side, channels)), (0, 2, 1, 3))

    def _weights(self, side: int, centre: Any, log_size: Any) -> Any:
        """(n, s, s): how much of each source pixel each target pixel takes along one axis."""
        pixels = ops.arange(side, dtype=self.compute_dtype)
        half = (side - 1) / 2
        targets = (pixels - half)[None, :] * ops.exp(log_size / 2)[:, None] + half * (1.0 + centre[:, None] / 2)
        return ops.relu(1.0 - ops.abs(targets[:, :, None] - pixels[None, None, :]))


def build_signs(settings: SignSettings) -> keras.Model:
    """A fresh network: `images` UINT8 (n, 48, 48, 3) RGB → `probabilities` and `logits` (n, 43)."""
    images = keras.Input((SIDE, SIDE, 3), name="images", dtype="uint8")
    values = Standardised(name="standardised")(images)
    if settings.window:
        values = Window(name="window")(values, _localised(values))
    values = _normalised(_convolution(values, settings.channels, 5, 2, "stem"), "stem")
    for stage, blocks in enumerate(settings.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            values = _residual(values, settings.channels * 2**stage, stride, f"stage{stage}.{block}")
    # Where a stroke lies tells 3 from 8: the mean is taken over quarters, not over the whole.
    values = layers.AveragePooling2D(values.shape[1] // 2, name="quarters")(values)
    values = layers.Dropout(settings.dropout, name="dropout")(layers.Flatten(name="features")(values))
    logits = layers.Dense(len(CLASS_NAMES), dtype="float32", name="logits")(values)
    return keras.Model(images, {"probabilities": ops.softmax(logits, axis=-1), "logits": logits}, name="signs")


def served(model: keras.Model) -> keras.Model:
    """The network with its served output alone, `probabilities`."""
    return keras.Model(model.input, {"probabilities": model.output["probabilities"]}, name=model.name)


def _localised(values: Any) -> Any:
    """The window (n, 4) that a small network chooses; the whole image at first."""
    values = layers.AveragePooling2D(2, name="window.small")(values)
    for number, channels in enumerate((8, 16)):
        values = layers.Conv2D(channels, 5, strides=2, padding="same", activation="relu", name=f"window.{number}")(
            values
        )
    values = layers.Dense(32, activation="relu", name="window.features")(layers.Flatten(name="window.flat")(values))
    return layers.Dense(4, activation="tanh", kernel_initializer="zeros", name="window.place")(values)


def _residual(values: Any, channels: int, stride: int, name: str) -> Any:
    left = _normalised(_convolution(values, channels, 3, stride, f"{name}.first"), f"{name}.first")
    left = _normalised(_convolution(left, channels, 3, 1, f"{name}.second"), f"{name}.second", relu=False)
    if stride > 1 or values.shape[-1] != channels:
        values = _normalised(_convolution(values, channels, 1, stride, f"{name}.across"), f"{name}.across", relu=False)
    return layers.ReLU(name=f"{name}.relu")(layers.Add(name=f"{name}.sum")([values, left]))


def _convolution(values: Any, channels: int, size: int, stride: int, name: str) -> Any:
    return layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False, name=name)(values)


def _normalised(values: Any, name: str, *, relu: bool = True) -> Any:
    values = layers.BatchNormalization(momentum=0.9, name=f"{name}.normalised")(values)
    return layers.ReLU(name=f"{name}.relu")(values) if relu else values
