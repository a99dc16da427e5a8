"""Where a forecaster errs: by horizon, by the walker's speed, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Float64Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS, STEP
from pathcast.forecasting.baselines import constant_velocity
from pathcast.forecasting.metrics import likeliest
from pathcast.forecasting.windows import Windows, concatenate

HORIZON_S = tuple(step * STEP.total_seconds() for step in range(1, FUTURE_STEPS + 1))

SPEED_CLASSES: Mapping[str, float] = {"standing": 0.2, "slow": 0.8, "walking": 1.8, "fast": np.inf}
"""Name → upper end of the mean observed speed in m/s, the classes following on one another."""

CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Windows and what a model made of them: `paths` (n, M, 12, 2) and `log_probs` (n, M)."""

    windows: Windows
    paths: Float32Array
    log_probs: Float32Array

    def __post_init__(self) -> None:
        shape = self.paths.shape
        if len(self.windows) == 0 or shape != (len(self.windows), self.log_probs.shape[-1], FUTURE_STEPS, 2):
            raise InvalidInputError(
                f"predictions: expected paths ({len(self.windows)}, {self.log_probs.shape[-1]}, {FUTURE_STEPS}, 2) "
                f"for at least one window, got {shape}"
            )

    def errors(self) -> Float64Array:
        """(n, M, 12): the distance of each path from what came, at each step."""
        distances: Float64Array = np.linalg.norm(self.paths - self.windows.future[:, None], axis=-1)
        return distances

    def ranked_errors(self) -> Float64Array:
        """(n, min(M, 20), 12): the errors of the paths that the best of 20 is taken from, the most likely first."""
        ranked: Float64Array = np.take_along_axis(self.errors(), likeliest(self.log_probs)[..., None], axis=1)
        return ranked

    def most_likely(self) -> npt.NDArray[np.int64]:
        """(n,): the most likely mode, the first of equals."""
        modes: npt.NDArray[np.int64] = self.log_probs.argmax(axis=1)
        return modes


def pool(parts: Sequence[Predictions]) -> Predictions:
    """All predictions as one set, every window counting the same."""
    return Predictions(
        concatenate([part.windows for part in parts]),
        np.concatenate([part.paths for part in parts]),
        np.concatenate([part.log_probs for part in parts]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class HorizonErrors:
    """Mean distance at each of the 12 steps (`HORIZON_S`), in the windows' units, (12,) each.

    `best20`: at each step, the distance of the mode that is nearest there, of the 20 most likely.
    """

    most_likely: Float64Array
    best20: Float64Array
    constant_velocity: Float64Array


def by_horizon(parts: Sequence[Predictions]) -> HorizonErrors:
    """The plain mean over the parts, such as scenes, of their mean errors at each step."""
    curves: list[tuple[Float64Array, Float64Array, Float64Array]] = []
    for part in parts:
        errors = part.ranked_errors()
        best = errors.min(axis=1)
        curves.append((errors[:, 0].mean(axis=0), best.mean(axis=0), _straight(part.windows).mean(axis=0)))
    most_likely, best, straight = (np.mean([curve[kind] for curve in curves], axis=0) for kind in range(3))
    return HorizonErrors(most_likely, best, straight)


@dataclass(frozen=True, slots=True)
class SpeedClassErrors:
    """ADE and FDE of the windows of one speed class, in the windows' units; None where there are no windows."""

    windows: int
    ade: float | None
    fde: float | None
    ade_best20: float | None
    constant_velocity_ade: float | None
    constant_velocity_fde: float | None


def by_speed(predictions: Predictions) -> dict[str, SpeedClassErrors]:
    """Speed class → errors, over windows in metres; the speed is the observed path's length over its time."""
    steps = np.linalg.norm(np.diff(predictions.windows.observed, axis=1), axis=-1)
    speeds = steps.mean(axis=1) / STEP.total_seconds()
    errors = predictions.ranked_errors()
    chosen = errors[:, 0]
    straight = _straight(predictions.windows)
    best = errors.mean(axis=2).min(axis=1)
    found: dict[str, SpeedClassErrors] = {}
    slowest = 0.0
    for name, limit in SPEED_CLASSES.items():
        rows = (speeds >= slowest) & (speeds < limit)
        slowest = limit
        found[name] = SpeedClassErrors(
            int(rows.sum()),
            *(
                float(values[rows].mean()) if rows.any() else None
                for values in (chosen.mean(axis=1), chosen[:, -1], best, straight.mean(axis=1), straight[:, -1])
            ),
        )
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How often a mode that was given probability p was the one nearest (by ADE) to what came.

    Each mode of each window is a case. `predicted` and `happened` (k,): the mean probability and the share of
    hits in bins of equal count, by rising probability. `expected_error`: the mean of their absolute difference,
    the expected calibration error with equal-count bins (Nguyen and O'Connor 2015). `most_likely_predicted` and
    `most_likely_happened`: the same two for the most likely mode alone.
    """

    predicted: Float64Array
    happened: Float64Array
    expected_error: float
    most_likely_predicted: float
    most_likely_happened: float


def calibration(predictions: Predictions, bins: int = CALIBRATION_BINS) -> Calibration:
    """Reliability of the modes' probabilities."""
    probabilities = np.exp(predictions.log_probs.astype(np.float64))
    hits = np.zeros_like(probabilities)
    rows = np.arange(len(hits))
    hits[rows, predictions.errors().mean(axis=2).argmin(axis=1)] = 1.0
    order = np.argsort(probabilities, axis=None, kind="stable")
    groups = [group for group in np.array_split(order, bins) if len(group)]
    predicted = np.array([probabilities.ravel()[group].mean() for group in groups])
    happened = np.array([hits.ravel()[group].mean() for group in groups])
    sizes = np.array([len(group) for group in groups]) / order.size
    chosen = predictions.most_likely()
    return Calibration(
        predicted,
        happened,
        float((sizes * np.abs(predicted - happened)).sum()),
        float(probabilities[rows, chosen].mean()),
        float(hits[rows, chosen].mean()),
    )


def _straight(windows: Windows) -> Float64Array:
    distances: Float64Array = np.linalg.norm(constant_velocity(windows.observed) - windows.future, axis=-1)
    return distances
