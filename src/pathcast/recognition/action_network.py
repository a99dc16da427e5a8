"""Action recognition on selected frames: a light selector, a pretrained backbone on what it chose, a small head.

What tells actions apart at few labelled clips is motion, so the backbone sees, for each selected frame, what changed
since the frame before, as a picture. It comes from outside, is not trained, and costs nearly all the time: selecting
`selected` of `frames` frames saves nearly in that proportion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, SCORES, ActionSettings
from pathcast.recognition.frame_selector import Weighted, select_frames


@dataclass(frozen=True, slots=True, eq=False)
class ActionNetwork:
    """The same layers as several models.

    `whole`: frames (n, t, s, s, 3) UINT8 → `probabilities` (n, c) and `frame_scores` (n, t). `selector`: frames → what
    `select_frames` gives. `features`: frames → features of each (n, t, d). `head`: features of some frames (n, k, d)
    and their weights (n, k) → logits (n, c).
    """

    whole: keras.Model
    selector: keras.Model
    features: keras.Model
    head: keras.Model


@keras.saving.register_keras_serializable(package="pathcast")
class Changes(layers.Layer):  # type: ignore[misc]
    """Frames (n, t, s, s, 3) UINT8 → pictures of what changed since the frame before, grey where nothing did.

    The first frame has none before it, and takes the change since the second.
    """

    def call(self, frames: Any) -> Any:
        values = ops.cast(frames, "float32")
        before = ops.concatenate([values[:, 1:2], values[:, :-1]], axis=1)
        return ops.cast(ops.clip(127.0 + 2.0 * (values - before), 0.0, 255.0), "uint8")


@keras.saving.register_keras_serializable(package="pathcast")
class BestFrames(layers.Layer):  # type: ignore[misc]
    """The `count` frames of the best score, in the order of time: values (n, t, …) and scores (n, t) → (n, k, …)."""

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__(**options)
        self.count = count

    def call(self, values: Any, scores: Any) -> Any:
        shape = values.shape
        flat = ops.reshape(values, (-1, shape[1], math.prod(shape[2:])))
        chosen = ops.take_along_axis(flat, best_frames(scores, self.count)[..., None], axis=1)
        return ops.reshape(chosen, (-1, self.count, *shape[2:]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count}


def best_frames(scores: Any, count: int) -> Any:
    """Positions (n, k) of the `count` best of scores (n, t), ascending."""
    _, positions = ops.top_k(scores, count)
    # The k smallest of the negatives, back to front, are the positions in order: ONNX knows no sort of integers.
    ordered, _ = ops.top_k(-ops.cast(positions, "float32"), count)
    return ops.cast(-ordered, "int32")


@keras.saving.register_keras_serializable(package="pathcast")
class AsImages(layers.Layer):  # type: ignore[misc]
    """Frames (n, t, s, s, 3) UINT8 → (n·t, side, side, 3) UINT8, enlarged."""

    def __init__(self, side: int, **options: Any) -> None:
        super().__init__(**options)
        self.side = side

    def call(self, frames: Any) -> Any:
        _, _, height, width, channels = frames.shape
        images = ops.cast(ops.reshape(frames, (-1, height, width, channels)), "float32")
        return ops.cast(ops.round(ops.image.resize(images, (self.side, self.side), interpolation="bilinear")), "uint8")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable(package="pathcast")
class PerFrame(layers.Layer):  # type: ignore[misc]
    """Features (n·t, d) of images → (n, t, d)."""

    def __init__(self, frames: int, **options: Any) -> None:
        super().__init__(**options)
        self.frames = frames

    def call(self, features: Any) -> Any:
        return ops.reshape(features, (-1, self.frames, features.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "frames": self.frames}


class Head:
    """Features and weights of some frames → logits (n, c): their mean under the weights, decided on linearly."""

    def __init__(self, settings: ActionSettings) -> None:
        self._mean = Weighted(name="mean_frame")
        self._scaled = layers.BatchNormalization(momentum=0.9, name="scaled")
        self._dropout = layers.Dropout(settings.dropout, name="head_dropout")
        # From zeros: random weights on 900 features would outlast the few steps that a small set gives.
        self._logits = layers.Dense(len(settings.classes), kernel_initializer="zeros", dtype="float32", name="action")

    def __call__(self, features: Any, weights: Any) -> Any:
        return self._logits(self._dropout(self._scaled(self._mean(features, weights[..., None]))))


def build_actions(settings: ActionSettings, backbone: keras.Model) -> ActionNetwork:
    """Fresh networks around `backbone`, images (n, side, side, 3) UINT8 RGB → maps, which stays as it is."""
    backbone.trainable = False
    changes, enlarged = Changes(name="changes"), AsImages(settings.input_size, name="enlarged")
    best, head = BestFrames(settings.selected, name="best_frames"), Head(settings)
    pools = [
        kind(name=f"{name}{level}")
        for level, _ in enumerate(backbone.outputs)
        for name, kind in (("strongest_of", layers.GlobalMaxPooling2D), ("mean_of", layers.GlobalAveragePooling2D))
    ]
    joined = layers.Concatenate(name="levels")

    def features_of(pictures: Any, count: int, name: str) -> Any:
        maps = [each for each in backbone(enlarged(pictures)) for _ in range(2)]
        return PerFrame(count, name=name)(joined([pool(each) for pool, each in zip(pools, maps, strict=True)]))

    frames = keras.Input((settings.frames, settings.size, settings.size, 3), name=FRAMES, dtype="uint8")
    found, pictures = select_frames(settings, frames), changes(frames)
    scores = found[SCORES]
    logits = head(features_of(best(pictures, scores), settings.selected, "of_selected"), best(scores, scores))
    probabilities = layers.Softmax(dtype="float32", name=PROBABILITIES)(logits)
    every = features_of(pictures, settings.frames, "of_all")
    return ActionNetwork(
        whole=keras.Model(frames, {PROBABILITIES: probabilities, SCORES: scores}, name="actions"),
        selector=keras.Model(frames, found, name="frame_selector"),
        features=keras.Model(frames, every, name="features"),
        head=build_head(head, every.shape[-1]),
    )


def build_head(head: Head, size: int) -> keras.Model:
    """The head as a model of its own: features (n, k, `size`) of some frames and their weights (n, k) → logits."""
    some = keras.Input((None, size), name="features", dtype="float32")
    weights = keras.Input((None,), name="weights", dtype="float32")
    return keras.Model([some, weights], head(some, weights), name="head")
