"""Two workers as two threads: what they compute together is what one computes alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pathcast.training.normalisation import share_normalisation
from pathcast.training.share import Share
from pathcast.training.workers import Workers

RANDOM = np.random.default_rng(2)
IMAGES = RANDOM.normal(3.0, 2.0, (8, 6, 6, 3)).astype(np.float32)
WANTED = RANDOM.normal(0.0, 1.0, (8, 6, 6, 2)).astype(np.float32)


class Threads(Workers):
    """A worker that is a thread; all meet at `sum`."""

    def __init__(self, share: Share, place: threading.Barrier, given: list[Any]) -> None:
        super().__init__(share)
        self._place, self._given = place, given

    def sum(self, values: Any) -> Any:
        self._given[self.share.index] = values
        self._place.wait(30)
        total = tf.add_n(self._given)
        self._place.wait(30)
        return total


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    images = keras.Input((6, 6, 3))
    features = images
    for number, channels in enumerate((4, 2)):
        features = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv{number}")(features)
        features = keras.layers.BatchNormalization(momentum=0.5, name=f"normal{number}")(features)
    return keras.Model(images, features)


def learn(model: keras.Model, share: Share) -> tuple[float, list[Any], list[Any]]:
    """Loss and gradients of a worker's rows, and the moving statistics after it."""
    rows = share.of(np.arange(len(IMAGES)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(IMAGES[rows], training=True) - WANTED[rows]))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return float(loss), [each.numpy() for each in gradients], [each.numpy() for each in model.non_trainable_variables]


@pytest.mark.parametrize("count", [2, 4])
def test_together_they_normalise_and_learn_as_one(count: int) -> None:
    loss, gradients, statistics = learn(network(), Share())
    place, given = threading.Barrier(count), [None] * count
    models = []
    for index in range(count):
        model = network()
        share_normalisation(model, Threads(Share(index, count), place, given))
        models.append(model)
    with ThreadPoolExecutor(count) as pool:
        parts = list(pool.map(learn, models, [Share(index, count) for index in range(count)]))
    assert np.mean([part[0] for part in parts]) == pytest.approx(loss, rel=1e-5)
    for number, wanted in enumerate(gradients):
        mean = np.mean([part[1][number] for part in parts], axis=0)
        np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-6)
    for part in parts:
        for got, wanted in zip(part[2], statistics, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_each_alone_it_would_be_something_else() -> None:
    loss, _, _ = learn(network(), Share())
    alone = [learn(network(), Share(index, 4))[0] for index in range(4)]
    assert abs(np.mean(alone) - loss) > 1e-3
