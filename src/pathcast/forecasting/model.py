"""The learned forecaster: an LSTM encoder-decoder and a perceptron beside it, in Keras 3 with `keras.ops` only.

The perceptron gives the best guess of the M modes, the decoder the others. The graph works in the walker's own frame:
the origin at the last observed position, the recent heading along +x, lengths divided by the walker's own speed. So it
knows neither place nor direction, and what it learns in one scene holds in another; lengths it does know, in metres
(see `metres_per`), by thresholds and by how long a step is. It predicts corrections to walking straight on, with a
velocity that it chooses among those observed; a fresh network forecasts close to straight lines. Of the neighbours an
attention-weighted mean and a maximum go to the perceptron, and with what the encoder made of the walk to the decoder
and the probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from pathcast.core.arrays import Float32Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS, OBSERVED_STEPS
from pathcast.forecasting.neighbours import NEIGHBOUR_VALUES, NEIGHBOURS
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import TrainedForecaster

HEADING_STEPS = 3
ROUGH_FROM = 0.002
EXACT_BELOW = 0.005
ALIKE_FROM = 0.01
"""Changes of the step, in metres: what counts as rough at all, what as no change, and what
has a direction."""

FRESH_CHOICE = (0.0,) * (OBSERVED_STEPS - 2) + (2.0, 0.0)
"""How a network that has learned nothing chooses a walker's velocity, as logits: mostly the last step, half damped."""

DAMPING = 0.1
"""The share by which a walker may go on slower than the velocity chosen, at most."""

NEAR_M = 10.0
"""Metres: who is further away is nobody. The recordings learned from hold hardly anyone beyond who is among the
nearest, and what the network made of others at 20 m doubled its error (docs/benchmarks.md)."""

FASTEST = 40.0
"""In the walker's own scale, a step: neighbours count as no faster, since none to learn from is."""

_TINY = 1e-6
"""In metres: who gets no further has no heading."""

_NEVER = 1e9
"""Taken from the scores of neighbours who are not there."""

_ROOT_FLOOR = 1e-8
"""In square metres: added below a root, whose slope would else be infinite at no change."""


def window_scale(observed: Any, smallest_scale: float) -> Any:
    """(n, 1, 1): the root mean square displacement per step of (n, 8, 2) `observed`, never below `smallest_scale`."""
    steps = observed[:, 1:, :] - observed[:, :-1, :]
    power = ops.mean(ops.sum(ops.square(steps), axis=-1, keepdims=True), axis=1, keepdims=True)
    return ops.sqrt(power + smallest_scale**2)


@keras.saving.register_keras_serializable(package="pathcast")
class WalkerFrame(keras.layers.Layer):  # type: ignore[misc]
    """Observed (n, 8, 2) → steps (n, 7, 2) in the walker's frame, axes (n, 2, 2), scale (n, 1, 1), origin (n, 1, 2).

    `axes` rows are the unit vectors of the frame in world coordinates: a row vector v of the frame is
    v · scale @ axes + origin in the world. Someone who stands still has the world's axes.
    """

    def __init__(self, smallest_scale: float, **options: Any) -> None:
        super().__init__(**options)
        self.smallest_scale = smallest_scale

    def call(self, observed: Any) -> tuple[Any, Any, Any, Any]:
        origin = observed[:, -1:, :]
        recent = observed[:, -1, :] - observed[:, -1 - HEADING_STEPS, :]
        length = ops.sqrt(ops.sum(ops.square(recent), axis=-1, keepdims=True))
        moving = ops.cast(length > _TINY, recent.dtype)
        unit = moving * recent / ops.maximum(length, _TINY) + (1.0 - moving) * np.array([[1.0, 0.0]], "float32")
        cosine, sine = unit[:, 0:1], unit[:, 1:2]
        axes = ops.stack([unit, ops.concatenate([-sine, cosine], axis=-1)], axis=1)
        steps = observed[:, 1:, :] - observed[:, :-1, :]
        scale = window_scale(observed, self.smallest_scale)
        along = ops.matmul(steps, ops.transpose(axes, (0, 2, 1))) / scale
        return along, axes, scale, origin

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smallest_scale": self.smallest_scale}


@keras.saving.register_keras_serializable(package="pathcast")
class Roughness(keras.layers.Layer):  # type: ignore[misc]
    """Observed (n, 8, 2) → (n, 4): how roughly the path was measured.

    The mean logarithm of how much the step changes, in metres; the share of changes that are nearly
    none; and the autocorrelation of the changes one and two steps apart. Hand-drawn tracks are exact between
    their points, detected ones tremble at every step; the last displacement of the former is the speed, of the
    latter mostly noise, and this is how the network tells which it sees: changes of independent measurements
    undo each other (autocorrelation -2/3), those of a walker do not.
    """

    def call(self, observed: Any) -> Any:
        steps = observed[:, 1:, :] - observed[:, :-1, :]
        turns = steps[:, 1:, :] - steps[:, :-1, :]
        changes = ops.sqrt(ops.sum(ops.square(turns), axis=-1) + _ROOT_FLOOR)
        rough = ops.mean(ops.log(changes + ROUGH_FROM), axis=-1, keepdims=True) / 2.0
        exact = ops.mean(ops.exp(-ops.square(changes / EXACT_BELOW)), axis=-1, keepdims=True)
        power = ops.sum(ops.square(turns), axis=(1, 2)) + ALIKE_FROM**2
        alike = ops.stack(
            [ops.sum(turns[:, lag:, :] * turns[:, :-lag, :], axis=(1, 2)) / power for lag in (1, 2)], axis=-1
        )
        return ops.concatenate([rough, exact, alike], axis=-1)


@keras.saving.register_keras_serializable(package="pathcast")
class Surroundings(keras.layers.Layer):  # type: ignore[misc]
    """Neighbours (n, K, 5) in the world → (n, K, 10) in the walker's frame, all 0 where nobody is near.

    Place in metres; velocity, own and relative to the walker's, by the walker's scale; the distance now, the least one
    in the next 4.8 s if both walk on, and when that is as a share of them; and 1. Lengths by their logarithm. Nobody is
    near beyond `NEAR_M`.
    """

    def call(self, neighbours: Any, along: Any, axes: Any, scale: Any, origin: Any) -> Any:
        # Neighbours go last, as coordinates do in `WalkOn`: onnxruntime adds to (n, 1, K) ten times faster than to
        # (n, K, 1).
        told = ops.transpose(neighbours, (0, 2, 1))
        place = ops.matmul(axes, told[:, :2] - ops.transpose(origin, (0, 2, 1)))
        distance = _length(place)
        there = told[:, 4:] * ops.cast(distance < NEAR_M, place.dtype)
        velocity = ops.matmul(axes, told[:, 2:4]) / scale
        relative = velocity - ops.transpose(along[:, -1:, :], (0, 2, 1))
        speed = _dot(relative, relative) * scale
        approach = -_dot(place, relative)
        meeting = ops.clip(approach / (speed + _TINY), 0.0, FUTURE_STEPS)
        features = [
            _shortened(place),
            _shortened(velocity),
            _shortened(relative),
            ops.log(1.0 + distance),
            ops.log(1.0 + _length(place + meeting * scale * relative)),
            meeting / FUTURE_STEPS,
            there,
        ]
        return ops.transpose(ops.concatenate(features, axis=1) * there, (0, 2, 1))


def _dot(first: Any, second: Any) -> Any:
    """Vectors (n, 2, K) and (n, 2, K) → (n, 1, K)."""
    return first[:, :1] * second[:, :1] + first[:, 1:] * second[:, 1:]


def _length(vectors: Any) -> Any:
    """(n, 2, K) → (n, 1, K)."""
    return ops.sqrt(_dot(vectors, vectors) + _ROOT_FLOOR)


def _shortened(vectors: Any) -> Any:
    """Vectors (n, 2, K) in their direction, as long as the logarithm of 1 + their length, at most `FASTEST`."""
    length = _length(vectors)
    return vectors * (ops.log(1.0 + ops.minimum(length, FASTEST)) / length)


@keras.saving.register_keras_serializable(package="pathcast")
class Attention(keras.layers.Layer):  # type: ignore[misc]
    """Encoded neighbours (n, K, u), their scores (n, K, 1) and who is there (n, K, 1) → (n, 2u), 0 where nobody is.

    The mean of who is there weighted by the softmax of the scores, and the largest of each value, 0 or more.
    """

    def call(self, encoded: Any, scores: Any, there: Any) -> Any:
        present = ops.transpose(there, (0, 2, 1))
        weights = ops.softmax(ops.transpose(scores, (0, 2, 1)) + (present - 1.0) * _NEVER, axis=-1) * present
        mean = ops.matmul(weights, encoded)[:, 0]
        return ops.concatenate([mean, ops.max(encoded * there, axis=1)], axis=-1)


@keras.saving.register_keras_serializable(package="pathcast")
class ChosenVelocity(keras.layers.Layer):  # type: ignore[misc]
    """Choice (n, 8) and steps (n, 7, 2) → the velocity to walk on with (n, 1, 2).

    The steps averaged by the softmax of the first seven, times 1 - `DAMPING` · sigmoid of the eighth: from the last
    displacement to the mean of all, and a little less than either.
    """

    def call(self, choice: Any, along: Any) -> Any:
        choice = choice + np.array([FRESH_CHOICE], "float32")
        shares = ops.softmax(choice[:, :-1], axis=-1)
        pace = 1.0 - DAMPING * ops.sigmoid(choice[:, -1:])
        return ops.matmul(ops.expand_dims(shares * pace, axis=1), along)


@keras.saving.register_keras_serializable(package="pathcast")
class WalkOn(keras.layers.Layer):  # type: ignore[misc]
    """Corrections (n, 2, M, 12) per step added to walking straight on, as world paths (n, M, 12, 2).

    Coordinates go before paths: onnxruntime adds along a long last axis ten times faster than along one of 2.
    """

    def call(self, corrections: Any, velocity: Any, axes: Any, scale: Any, origin: Any) -> Any:
        modes = corrections.shape[2]
        # A cumulative sum as a product with a triangle of ones: one matrix multiplication in every runtime.
        triangle = np.triu(np.ones((FUTURE_STEPS, FUTURE_STEPS), "float32"))
        summed = ops.matmul(ops.reshape(corrections, (-1, FUTURE_STEPS)), triangle)
        paths = ops.reshape(summed, (-1, 2, modes * FUTURE_STEPS))
        elapsed = np.tile(np.arange(1, FUTURE_STEPS + 1, dtype="float32"), modes)[None]
        straight = ops.matmul(ops.transpose(velocity, (0, 2, 1)), elapsed)
        to_world = ops.transpose(axes, (0, 2, 1)) * scale
        world = ops.matmul(to_world, paths + straight) + ops.transpose(origin, (0, 2, 1))
        return ops.reshape(ops.transpose(world, (0, 2, 1)), (-1, modes, FUTURE_STEPS, 2))


@keras.saving.register_keras_serializable(package="pathcast")
class LeadingMode(keras.layers.Layer):  # type: ignore[misc]
    """Logits (n, M) → log probabilities (n, M) in which mode 0 is never less likely than another.

    Mode 0 is trained as the single best guess; this makes it the most likely path by construction.
    """

    def call(self, logits: Any) -> Any:
        others = logits[:, 1:]
        lead = ops.max(others, axis=-1, keepdims=True) + ops.softplus(logits[:, :1])
        return ops.log_softmax(ops.concatenate([lead, others], axis=-1), axis=-1)


def build_forecaster(settings: ForecasterSettings) -> keras.Model:
    """A fresh network: `observed` (n, 8, 2), `neighbours` (n, 8, 5) → `paths` (n, M, 12, 2) and `log_probs` (n, M).

    Positions are absolute, in metres; neighbours are as `nearest_others` says them, in any order.
    Initial weights come from Keras's global seed. In mixed precision the geometry stays in float32: a position in
    metres has no digits to lose.
    """
    observed = keras.Input((OBSERVED_STEPS, 2), name="observed", dtype="float32")
    neighbours = keras.Input((NEIGHBOURS, NEIGHBOUR_VALUES), name="neighbours", dtype="float32")
    along, axes, scale, origin = WalkerFrame(settings.smallest_scale, name="walker_frame", dtype="float32")(observed)
    measured = Roughness(name="roughness", dtype="float32")(observed)
    known = ops.concatenate([ops.log(scale[:, :, 0]), measured], axis=-1)
    seen = Surroundings(name="surroundings", dtype="float32")(neighbours, along, axes, scale, origin)
    around = _attend(seen, settings.neighbour_units)
    features = ops.concatenate(
        [along, along - along[:, -1:, :], keras.layers.RepeatVector(OBSERVED_STEPS - 1, name="known")(known)], axis=-1
    )
    encoded, hidden, cell = keras.layers.LSTM(
        settings.units, return_sequences=False, return_state=True, unroll=True, name="encoder"
    )(features)
    context = keras.layers.Dense(settings.units, activation="silu", name="context")(
        ops.concatenate([encoded, around], axis=-1)
    )
    context = keras.layers.Dropout(settings.dropout, name="dropout")(context)
    # What the decoder is told at every step is short, since it starts from the encoder's whole state.
    cue = keras.layers.Dense(max(settings.units // 4, 1), name="cue")(context)
    decoded = keras.layers.LSTM(settings.units, return_sequences=True, unroll=True, name="decoder")(
        keras.layers.RepeatVector(FUTURE_STEPS, name="horizon")(cue), initial_state=[hidden, cell]
    )
    # Step by step, as the LSTM has them: onnxruntime would else turn them around before the layer and after it.
    others = keras.layers.Dense((settings.modes - 1) * 2, kernel_initializer=_small(), name="corrections")(
        ops.reshape(ops.transpose(decoded, (1, 0, 2)), (-1, settings.units))
    )
    others = ops.transpose(ops.reshape(others, (FUTURE_STEPS, -1, (settings.modes - 1) * 2)), (1, 2, 0))
    others = ops.reshape(others, (-1, 2, settings.modes - 1, FUTURE_STEPS))
    # The best guess learns beside the LSTMs, by a small network of its own: it errs less in places it never saw.
    # It is flat and sees all steps at once: the first four features of each, then what is known of them all, once.
    guess = ops.concatenate([keras.layers.Flatten(name="steps")(features[:, :, :4]), known, around], axis=-1)
    for layer in ("guess_first", "guess_second"):
        guess = keras.layers.Dense(settings.units, activation="silu", name=layer)(guess)
        guess = keras.layers.Dropout(settings.dropout, name=f"{layer}_dropout")(guess)
    best = keras.layers.Dense(FUTURE_STEPS * 2, kernel_initializer=_small(), name="guess")(guess)
    best = ops.transpose(ops.reshape(best, (-1, FUTURE_STEPS, 2, 1)), (0, 2, 3, 1))
    corrections = ops.concatenate([best, others], axis=2)
    choice = keras.layers.Dense(OBSERVED_STEPS, kernel_initializer=_small(), name="choice")(guess)
    velocity = ChosenVelocity(name="velocity", dtype="float32")(choice, along)
    paths = WalkOn(name="paths", dtype="float32")(corrections, velocity, axes, scale, origin)
    logits = keras.layers.Dense(settings.modes, name="logits")(context)
    log_probs = LeadingMode(name="log_probs", dtype="float32")(logits)
    inputs, outputs = {"observed": observed, "neighbours": neighbours}, {"paths": paths, "log_probs": log_probs}
    return keras.Model(inputs, outputs, name="forecaster")


def _attend(seen: Any, units: int) -> Any:
    """What neighbours (n, K, 10), of `Surroundings`, tell together, (n, 2 units)."""
    count, values = seen.shape[1:]
    # In rows, a layer is one matrix product with its bias.
    rows = ops.reshape(seen, (-1, values))
    for layer in ("neighbour_first", "neighbour_second"):
        rows = keras.layers.Dense(units, activation="silu", name=layer)(rows)
    scores = ops.reshape(keras.layers.Dense(1, name="attention_scores")(rows), (-1, count, 1))
    encoded = ops.reshape(rows, (-1, count, units))
    return Attention(name="attention", dtype="float32")(encoded, scores, seen[:, :, -1:])


def _small() -> keras.initializers.Initializer:
    """For layers whose output is added to walking straight on: a fresh network should hardly differ from that."""
    return keras.initializers.RandomNormal(stddev=0.02)


def restore_forecaster(trained: TrainedForecaster) -> keras.Model:
    """The network with a trained forecaster's weights; InvalidInputError names a weight that does not fit."""
    model = build_forecaster(trained.settings)
    set_weights(model, trained.weights)
    return model


def set_weights(model: keras.Model, weights: Mapping[str, Float32Array]) -> None:
    """Assign `weights` by variable path."""
    expected = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
    got = {name: array.shape for name, array in weights.items()}
    if expected != got:
        name = sorted(set(expected.items()) ^ set(got.items()))[0][0]
        raise InvalidInputError(
            f"forecaster weights: {name}: expected shape {expected.get(name)}, got {got.get(name)}",
            hint="the weights were made by a network of other settings",
        )
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])


def get_weights(model: keras.Model) -> dict[str, Float32Array]:
    """Variable path → a copy of its values."""
    return {v.path: np.array(ops.convert_to_numpy(v.value), np.float32) for v in model.trainable_variables}
