"""A backbone of a few fixed filters in the place of the pretrained one, which takes seconds to build and to export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import pytest
from keras import layers

from pathcast.training.actions_task import frozen_features


def tiny_backbone(side: int) -> keras.Model:
    """Images (n, side, side, 3) UINT8 RGB → two maps: enough to tell whether anything has changed, and where to."""
    images = keras.Input((side, side, 3), name="images", dtype="uint8")
    scaled = layers.Rescaling(1 / 127, offset=-1.0)(images)
    filters = keras.initializers.HeNormal(seed=1)
    maps = layers.Conv2D(8, 4, 4, activation="relu", kernel_initializer=filters, name="stem")(scaled)
    deep = layers.Conv2D(8, 1, activation="relu", kernel_initializer=filters, name="deep")(maps)
    return keras.Model(images, [maps, deep], name="backbone")


@contextmanager
def small_actions() -> Iterator[None]:
    """While it lasts, the actions family is built around `tiny_backbone`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathcast.training.actions_task.pretrained_backbone", tiny_backbone)
        frozen_features.cache_clear()
        yield
    frozen_features.cache_clear()
