"""Training of the frame selector and the action recogniser on the shared loop, both in one go.

The backbone does not learn, so its features are computed once for each of `variants` varied copies of every clip.
The recogniser learns from the frames that the selector chooses at the moment, with noise that fades, and from all
frames; how sure it is of the right action by a frame alone teaches the single-frame score. The score among the others
learns from telling the action of the clip (Gowda et al. 2021, section 3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.recognition.action_network import ActionNetwork, best_frames, build_actions
from pathcast.recognition.action_settings import FRAMES, SCORES, ActionSettings
from pathcast.recognition.classification import score
from pathcast.recognition.clip_augmentation import ClipAugmentation, mixed, varied
from pathcast.recognition.clip_store import PreparedClips
from pathcast.recognition.losses import Loss, classification_loss
from pathcast.training.backbone import pretrained_backbone
from pathcast.training.share import Share
from pathcast.training.workers import Workers

PREDICTION_BATCH = 4


def build_network(settings: ActionSettings) -> ActionNetwork:
    """Fresh networks around the pretrained backbone."""
    return build_actions(settings, pretrained_backbone(settings.input_size))


@dataclass(frozen=True, slots=True)
class Learning:
    """How the networks learn.

    A `loss` with `smoothing` of the labels; each class is drawn by its samples to the power of `balance`. Of `variants`
    copies of a clip, the first is as it is and the others are varied by `augmentation`. An epoch is a pass over the
    clips, or `epoch_steps` steps where that is more: a few dozen clips need as many steps as a few hundred. The head's
    weights are held small by `shrink` over the number of clips times the sum of their squares, as a ridge regression's
    are: it decides on many more features than a small set has clips.
    """

    loss: Loss = "cross_entropy"
    smoothing: float = 0.1
    balance: float = 1.0
    variants: int = 1
    epoch_steps: int = 20
    shrink: float = 150.0
    augmentation: ClipAugmentation = field(default_factory=ClipAugmentation)


class ActionsTask:
    """The family's part of the training loop."""

    def __init__(
        self, train: PreparedClips, val: PreparedClips, settings: ActionSettings, learning: Learning, *, seed: int = 0
    ) -> None:
        if train.classes != settings.classes:
            raise InvalidInputError(
                f"actions: expected clips of the classes {', '.join(settings.classes)}, got {', '.join(train.classes)}",
                hint="the weights to start from were trained for other actions: train from random ones",
            )
        self._train, self._val, self._settings, self._learning, self._seed = train, val, settings, learning, seed
        self._network: ActionNetwork | None = None
        self._head: keras.Model | None = None
        self._features = np.zeros((0, 0, 0), np.float32)
        self._targets = np.zeros((0, 0), np.float32)

    def build(self) -> keras.Model:
        network = self._built()
        self._head = network.head
        return network.whole

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(len(self._train) // batch_size, self._learning.epoch_steps)

    def batches(
        self, batch_size: int, random: np.random.Generator, share: Share
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        self._prepare_features()
        chances = self._chances()
        for _ in range(self.steps_per_epoch(batch_size)):
            chosen = share.of(random.choice(len(chances), batch_size, replace=batch_size > len(chances), p=chances))
            copies = share.of(random.integers(0, self._learning.variants, batch_size))
            noise = share.of(self._noise(batch_size, random))
            rows = copies * len(self._train) + chosen
            yield self._batch(rows, noise)

    def _batch(self, rows: npt.NDArray[np.int64], noise: Float32Array) -> tuple[npt.NDArray[Any], ...]:
        """What `loss` takes: frames (n, t, s, s, 3) of copies of clips, targets (n, c), noise (n, t), features."""
        frames = np.stack([self._clip(int(row))[0] for row in rows])
        return frames, self._targets[rows], noise, self._features[rows]

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        frames, targets, noise, features = batch
        network = self._built()
        found = network.selector(frames, training=True)
        # Noise on the choice, less and less, so that the head does not learn one choice by heart.
        shown = ops.log(found[SCORES] + 1e-6) + (1.0 - elapsed) * noise
        chosen = ops.stop_gradient(best_frames(shown, self._settings.selected))
        weights = ops.take_along_axis(found[SCORES], chosen, axis=1)
        of_frames = ops.reshape(found["frame_logits"], (-1, targets.shape[1]))
        certainty = ops.stop_gradient(_certainty(network, features, targets))
        return (
            self._recogniser_loss(features, targets, chosen, weights, found["among"])
            + self._told(of_frames, ops.repeat(targets, self._settings.frames, axis=0))
            + ops.mean(ops.binary_crossentropy(certainty, found["single"]))
        )

    def _recogniser_loss(self, features: Any, targets: Any, chosen: Any, weights: Any, among: Any) -> Any:
        """Of features (n, t, d): told by the `chosen` frames (n, k) with `weights` (n, k), and by all with `among`."""
        head, shrink = self._decided_by(), 2 * self._learning.shrink / len(self._train)
        few = ops.take_along_axis(features, chosen[..., None], axis=1)
        return (
            self._told(head([few, weights], training=True), targets)
            + self._told(head([features, among], training=True), targets)
            + shrink * ops.sum(ops.square(head.get_layer("action").kernel))
        )

    def _told(self, logits: Any, truth: Any) -> Any:
        return classification_loss(logits, truth, self._learning.loss, self._learning.smoothing)

    def validation(self, model: keras.Model, _workers: Workers) -> Callable[[], Mapping[str, float]]:
        """Scores on the validation clips; `score` is the cross entropy, which still tells when all are right."""
        clips, traced = self._val, tf.function(self._answer)

        def validate() -> Mapping[str, float]:
            probabilities = self._answers(clips, traced)
            scores = score(probabilities, clips.labels, clips.classes)
            of_truth = np.maximum(probabilities[np.arange(len(clips)), clips.labels], 1e-7)
            return {
                "score": float(-np.log(of_truth).mean()),
                "accuracy": scores.accuracy,
                "balanced_accuracy": scores.balanced_accuracy,
                "macro_f1": scores.macro_f1,
            }

        return validate

    def answers(self, clips: PreparedClips) -> Float32Array:
        """Probabilities (n, c) of the clips, by the network as it is now."""
        return self._answers(clips, tf.function(self._answer))

    def _answers(self, clips: PreparedClips, answer: Callable[[Any, Any, Any], Any]) -> Float32Array:
        noise = self._noise(len(clips), np.random.default_rng(self._seed))
        parts = []
        for start in range(0, len(clips), PREDICTION_BATCH):
            frames = np.asarray(clips.frames[start : start + PREDICTION_BATCH])
            features = np.stack([self._features_of(clip) for clip in frames])
            parts.append(answer(frames, features, noise[start : start + PREDICTION_BATCH]).numpy())
        return np.concatenate(parts)

    def _answer(self, frames: Any, features: Any, noise: Any) -> Any:
        """Probabilities (n, c) of clips (n, t, s, s, 3) with these features (n, t, d): what the whole network says.

        `noise` (n, t) is for choices by chance, which this is none of.
        """
        scores = self._built().selector(frames, training=False)[SCORES]
        chosen = best_frames(scores, self._settings.selected)
        return self._recognised(features, chosen, ops.take_along_axis(scores, chosen, axis=1))

    def _recognised(self, features: Any, chosen: Any, weights: Any) -> Any:
        few = ops.take_along_axis(features, chosen[..., None], axis=1)
        return ops.softmax(self._decided_by()([few, weights], training=False), axis=-1)

    def _noise(self, clips: int, random: np.random.Generator) -> Float32Array:
        """(clips, t), added to what ranks frames."""
        return random.gumbel(size=(clips, self._settings.frames)).astype(np.float32)

    def _prepare_features(self) -> None:
        if len(self._features):
            return
        features, targets = [], []
        for row in range(self._learning.variants * len(self._train)):
            frames, target = self._clip(row)
            targets.append(target)
            features.append(self._features_of(frames))
        self._features = np.stack(features)
        self._targets = np.stack(targets)

    def _features_of(self, frames: UInt8Array) -> Float32Array:
        """(t, d) of a clip (t, s, s, 3)."""
        return frozen_features(self._settings.input_size).of(self._built, frames)

    def _clip(self, row: int) -> tuple[UInt8Array, Float32Array]:
        """A copy of a clip with its label; the same for the same row, whoever asks."""
        copy, index = divmod(row, len(self._train))
        targets, settings = self._train.targets, self._learning.augmentation
        if copy == 0:
            return self._train.clip(index), targets[index]
        random = np.random.default_rng([self._seed, row])
        other = int(random.integers(len(self._train)))
        one = varied(self._train.clip(index), settings, random)
        return mixed((one, targets[index]), (self._train.clip(other), targets[other]), settings, random)

    def _chances(self) -> npt.NDArray[np.float64]:
        counts = np.bincount(self._train.labels, minlength=len(self._settings.classes))
        chances = counts[self._train.labels].astype(np.float64) ** (self._learning.balance - 1)
        return np.asarray(chances / chances.sum())

    def _built(self) -> ActionNetwork:
        if self._network is None:
            self._network = build_network(self._settings)
        return self._network

    def _decided_by(self) -> keras.Model:
        if self._head is None:
            raise InvalidInputError("actions: expected build() before the first batch")
        return self._head


class FrozenFeatures:
    """Features of clips, remembered by content: trainings on other folds of the same clips compute them once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Float32Array] = {}
        self._traced: Callable[[Any], Any] | None = None

    def of(self, network: Callable[[], ActionNetwork], frames: UInt8Array) -> Float32Array:
        """The features (t, d) of a clip (t, s, s, 3), by what `network` gives where none has computed any yet."""
        key = hashlib.sha256(frames.tobytes()).digest()
        if key not in self._known:
            if self._traced is None:
                model = network().features
                self._traced = tf.function(lambda clips: model(clips, training=False))
            self._known[key] = self._traced(tf.constant(frames[None])).numpy()[0]
        return self._known[key]


@cache
def frozen_features(input_size: int) -> FrozenFeatures:
    """What this process knows of features by the pretrained backbone at that input size, the same in every network."""
    return FrozenFeatures()


def _certainty(network: ActionNetwork, features: Any, targets: Any) -> Any:
    """(n, t): the probability of the right action by each of the frames alone, features (n, t, d)."""
    _, frames, size = features.shape
    alone = ops.reshape(features, (-1, 1, size))
    probabilities = ops.softmax(network.head([alone, ops.ones_like(alone[..., 0])], training=False), axis=-1)
    return ops.sum(ops.reshape(probabilities, (-1, frames, targets.shape[1])) * targets[:, None], axis=-1)


def keras_predictor(model: keras.Model) -> Callable[[UInt8Array], Mapping[str, Float32Array]]:
    """The network as a function of clips (n, t, s, s, 3): its outputs by name, a few clips at a time."""
    traced = tf.function(lambda frames: model(frames, training=False), input_signature=[_signature(model)])

    def predict(clips: UInt8Array) -> Mapping[str, Float32Array]:
        starts = range(0, len(clips), PREDICTION_BATCH)
        parts = [traced(tf.constant(np.asarray(clips[start : start + PREDICTION_BATCH]))) for start in starts]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}

    return predict


def _signature(model: keras.Model) -> Any:
    return tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8, name=FRAMES)
