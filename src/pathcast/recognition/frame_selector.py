"""SMART frame selection: how much each frame of a clip has to say.

Gowda, Rohrbach and Sevilla-Lara, AAAI 2021, arXiv:2012.10671; in Keras 3 with `keras.ops` only. A light
convolutional network sees every frame small, with what changed since the frame before. Its features, joined with the
word vectors of the classes that it guesses, go two ways: a perceptron scores each frame alone; an LSTM over the clip
with attention and, towards the attended whole, relation (Meng et al., Frame Attention Networks, 2019,
arXiv:1907.00193) scores it among the others. The product of the two scores ranks the frames, together with a factor
that is not learned: how much of the frame has changed, because changes are all that the recogniser sees. What is
learned decides among frames that have changed alike, so that a few hundred clips cannot teach it to look where nothing
happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from pathcast.recognition.action_settings import SCORES, ActionSettings


@keras.saving.register_keras_serializable(package="pathcast")
class Glance(layers.Layer):  # type: ignore[misc]
    """Frames (n, t, s, s, 3) UINT8 → (n, t, g, g, 4) in [-1, 1]: colours, and the change since the frame before.

    The first frame has none before it, and takes the change to the second.
    """

    def __init__(self, side: int, **options: Any) -> None:
        super().__init__(**options)
        self.side = side

    def call(self, frames: Any) -> Any:
        _, count, height, width, _ = frames.shape
        flat = ops.reshape(ops.cast(frames, "float32") / 127.5 - 1.0, (-1, height, width, 3))
        small = ops.average_pool(flat, height // self.side, height // self.side)
        small = ops.reshape(small, (-1, count, self.side, self.side, 3))
        change = ops.mean(ops.abs(small[:, 1:] - small[:, :-1]), axis=-1, keepdims=True)
        return ops.concatenate([small, ops.concatenate([change[:, :1], change], axis=1)], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


CHANGED = 15.03
"""Mean difference of a cell's colours (0-255) to the frame before, above which the cell has changed.

Not 15: cells that differ by just that much would count or not by the rounding of whoever computes it.
"""

_LEAST = 0.01


@keras.saving.register_keras_serializable(package="pathcast")
class Moved(layers.Layer):  # type: ignore[misc]
    """Glances (n, t, g, g, 4) → (n, t), the share of cells that have changed, with half of that of the frames beside.

    So what lasts counts for more than one jolt. The share is nowhere less than .01, and that of the first
    frame is this least: what it shows of changes is what the second shows.
    """

    def call(self, glances: Any) -> Any:
        changed = ops.cast(glances[..., 3] > CHANGED / 127.5, "float32")
        share = ops.maximum(ops.mean(changed, axis=(2, 3)), _LEAST)
        share = ops.concatenate([ops.full_like(share[:, :1], _LEAST), share[:, 1:]], axis=1)
        before = ops.concatenate([share[:, :1], share[:, :-1]], axis=1)
        after = ops.concatenate([share[:, 1:], share[:, -1:]], axis=1)
        return (before + 2.0 * share + after) / 4.0


@keras.saving.register_keras_serializable(package="pathcast")
class WordVectors(layers.Layer):  # type: ignore[misc]
    """Class probabilities (…, c) → the mean under them of the classes' word vectors, `vectors` (c, d): (…, d)."""

    def __init__(self, vectors: Sequence[Sequence[float]], **options: Any) -> None:
        super().__init__(**options)
        self.vectors = [list(map(float, vector)) for vector in vectors]

    def call(self, probabilities: Any) -> Any:
        return ops.matmul(probabilities, ops.convert_to_tensor(self.vectors, probabilities.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vectors": self.vectors}


def select_frames(settings: ActionSettings, frames: Any) -> dict[str, Any]:
    """The selector's outputs for `frames` (n, t, s, s, 3) UINT8.

    `frame_scores` (n, t), by `Ranked` from `single`, `among` and `moved`, these three (n, t), and `frame_logits`
    (n, t, c), which it guesses the classes by. Without word vectors the guess itself joins the features.
    """
    units = settings.units
    glances = Glance(settings.glance, name="glance")(frames)
    features, moved = _per_frame(settings, glances), Moved(name="moved")(glances)
    frame_logits = layers.Dense(len(settings.classes), name="frame_class")(features)
    guess = layers.Softmax(name="frame_guess")(frame_logits)
    words = WordVectors(settings.word_vectors, name="words")(guess) if settings.word_vectors else guess
    features = layers.Concatenate(name="with_words")([features, words])
    hidden = layers.Dense(units, "relu", name="single_hidden")(features)
    single = layers.Dense(1, "sigmoid", name="single_score")(hidden)
    states = layers.LSTM(units, return_sequences=True, name="over_time")(features)
    attention = layers.Dense(1, "sigmoid", name="attention")(states)
    whole = Weighted(name="whole")(states, attention)
    again = layers.RepeatVector(settings.frames, name="whole_again")(whole)
    beside = layers.Concatenate(name="beside_whole")([states, again])
    relation = layers.Dense(1, "sigmoid", name="relation")(beside)
    single = layers.Reshape((settings.frames,), name="single")(single)
    among = layers.Reshape((settings.frames,), name="among")(layers.Multiply(name="product")([attention, relation]))
    return {
        SCORES: Ranked(settings.learned, dtype="float32", name=SCORES)(single, among, moved),
        "single": single,
        "among": among,
        "moved": moved,
        "frame_logits": frame_logits,
    }


@keras.saving.register_keras_serializable(package="pathcast")
class Ranked(layers.Layer):  # type: ignore[misc]
    """Scores (n, t) of frames alone and among the others, and how much has moved → what ranks them, in [0, 1].

    It is how much has moved, less up to the share `learned` of it where the product of the scores is low.
    """

    def __init__(self, learned: float, **options: Any) -> None:
        super().__init__(**options)
        self.learned = learned

    def call(self, single: Any, among: Any, moved: Any) -> Any:
        return moved * (1.0 - self.learned * (1.0 - single * among))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learned": self.learned}


@keras.saving.register_keras_serializable(package="pathcast")
class Weighted(layers.Layer):  # type: ignore[misc]
    """The mean over time of values (n, t, d) under weights (n, t, 1)."""

    def call(self, values: Any, weights: Any) -> Any:
        return ops.sum(values * weights, axis=1) / (ops.sum(weights, axis=1) + 1e-6)


def _per_frame(settings: ActionSettings, glances: Any) -> Any:
    """Three convolutions, each halving the sides, then the strongest and the mean answer of each channel."""
    side = settings.glance
    features = layers.Reshape((settings.frames * side, side, 4), name="as_images")(glances)
    # Frames below each other make one tall image: a convolution over it costs no reshape of the batch axis. Kernels
    # as large as their stride do not reach into the next frame.
    for level, channels in enumerate((8, 16, 32)):
        features = layers.Conv2D(channels, 2, 2, "valid", name=f"look{level}")(features)
        features = layers.Activation("relu", name=f"look{level}_act")(features)
        side //= 2
    features = layers.Reshape((settings.frames, side * side, 32), name="cells")(features)
    found = layers.Concatenate(name="seen")([CellMax(name="strongest")(features), CellMean(name="usual")(features)])
    found = layers.Dropout(settings.dropout / 2, name="seen_dropout")(found)
    return layers.Dense(settings.units, "relu", name="frame_features")(found)


@keras.saving.register_keras_serializable(package="pathcast")
class CellMax(layers.Layer):  # type: ignore[misc]
    """(n, t, cells, d) → (n, t, d), the largest."""

    def call(self, values: Any) -> Any:
        return ops.max(values, axis=2)


@keras.saving.register_keras_serializable(package="pathcast")
class CellMean(layers.Layer):  # type: ignore[misc]
    """(n, t, cells, d) → (n, t, d), the mean."""

    def call(self, values: Any) -> Any:
        return ops.mean(values, axis=2)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], shape[1], shape[3])
