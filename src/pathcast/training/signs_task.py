"""Training of the sign classifier on the shared loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from pathcast.recognition.classification import score
from pathcast.recognition.losses import Loss, classification_loss
from pathcast.recognition.sign_augmentation import SignAugmentation, centre
from pathcast.recognition.sign_classes import CLASS_NAMES
from pathcast.recognition.sign_model import build_signs
from pathcast.recognition.sign_settings import SignSettings
from pathcast.training.share import Share
from pathcast.training.signs_data import Signs
from pathcast.training.workers import Workers

PREDICTION_BATCH = 256


@dataclass(frozen=True, slots=True)
class SignsTask:
    """The sign classifier's part of the training loop.

    A class is drawn by its samples to the power of `balance` (1: as often as it comes, 0: all alike), and each of its
    samples then alike. `smoothing` of the labels.
    """

    train: Signs
    val: Signs
    settings: SignSettings
    loss_name: Loss = "cross_entropy"
    balance: float = 0.5
    smoothing: float = 0.1
    augmentation: SignAugmentation = field(default_factory=SignAugmentation)

    def build(self) -> keras.Model:
        return build_signs(self.settings)

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(len(self.train) // batch_size, 1)

    def batches(
        self, batch_size: int, random: np.random.Generator, share: Share
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        chances = self._chances()
        for _ in range(self.steps_per_epoch(batch_size)):
            chosen = random.choice(len(chances), batch_size, p=chances)
            seeds = random.integers(0, 2**63, batch_size)
            varied = [
                self.augmentation(self.train.images[index], int(self.train.labels[index]), np.random.default_rng(seed))
                for index, seed in zip(share.of(chosen), share.of(seeds), strict=True)
            ]
            yield np.stack([image for image, _ in varied]), np.array([label for _, label in varied], np.int32)

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        images, labels = batch
        targets = ops.one_hot(labels, len(CLASS_NAMES))
        return classification_loss(model(images, training=True)["logits"], targets, self.loss_name, self.smoothing)

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        """Accuracies on the validation tracks, where soon nearly all are right; so `score` is finer.

        It is the divergence (nats) of the answers from the smoothed labels that the network learns: the cross entropy
        with the labels as they are would take the network that is not yet as unsure as it is told to be.
        """
        predict, labels = keras_predictor(model), self.val.labels
        own = centre(self.val.images[workers.share.span(len(labels))])

        def validate() -> Mapping[str, float]:
            probabilities = workers.gather(predict(own).astype(np.float64)).astype(np.float32)
            scores = score(probabilities, labels, CLASS_NAMES)
            return {
                "score": divergence(probabilities, labels, self.smoothing),
                "accuracy": scores.accuracy,
                "balanced_accuracy": scores.balanced_accuracy,
                "macro_f1": scores.macro_f1,
                "calibration_error": scores.calibration_error,
            }

        return validate

    def _chances(self) -> Float64Array:
        counts = np.bincount(self.train.labels, minlength=len(CLASS_NAMES))
        chances = counts[self.train.labels].astype(np.float64) ** (self.balance - 1)
        return np.asarray(chances / chances.sum(), np.float64)


def divergence(probabilities: Float32Array, labels: Int64Array, smoothing: float) -> float:
    """The mean Kullback-Leibler divergence in nats of probabilities (n, c) from labels (n,), smoothed."""
    classes = probabilities.shape[1]
    targets = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    ratios = np.log(np.maximum(targets, 1e-12)) - np.log(np.maximum(probabilities, 1e-12))
    return float((targets * ratios).sum(axis=1).mean())


def keras_predictor(model: keras.Model) -> Callable[[UInt8Array], Float32Array]:
    """The network as a function of images (n, 48, 48, 3): probabilities (n, 43)."""
    traced = tf.function(
        lambda images: model(images, training=False)["probabilities"],
        input_signature=[tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)],
    )

    def predict(images: UInt8Array) -> Float32Array:
        starts = range(0, len(images), PREDICTION_BATCH)
        parts = [traced(tf.constant(images[start : start + PREDICTION_BATCH])).numpy() for start in starts]
        return np.concatenate([*parts, np.zeros((0, len(CLASS_NAMES)), np.float32)])

    return predict
