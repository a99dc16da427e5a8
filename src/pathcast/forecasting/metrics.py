"""How far predicted paths are from what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array, frozen_array
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS

BEST_OF = 20
MISS_DISTANCE_M = 2.0
"""A path misses when its last position is further off than this (Chang et al. 2019, "Argoverse")."""


@dataclass(frozen=True, slots=True)
class ForecastMetrics:
    """Mean errors over `windows` windows, in the windows' units.

    `ade` and `fde`: mean and last displacement error of the most likely path. `ade_best20` and `fde_best20`:
    the smallest of each over the 20 most likely paths, each minimised by itself as in Social GAN (Gupta et
    al. 2018); a model with M ≤ 20 modes offers all of them, one with a single path scores as its
    deterministic errors. `mode_nll`: mean negative log probability (nats) that the model gave to the mode
    closest to what came; None for a single path. Uniform guessing among 20 scores ln 20 = 3.00. `miss_rate`:
    the share of windows whose most likely path ends more than `MISS_DISTANCE_M` off, `miss_rate_best20` that
    in which all of the 20 do; they suit metres.
    """

    windows: int
    ade: float
    fde: float
    ade_best20: float
    fde_best20: float
    mode_nll: float | None = None
    miss_rate: float = 0.0
    miss_rate_best20: float = 0.0


_AVERAGED = tuple(field.name for field in fields(ForecastMetrics) if field.name not in ("windows", "mode_nll"))


def score(paths: npt.ArrayLike, log_probs: npt.ArrayLike, future: npt.ArrayLike) -> ForecastMetrics:
    """Score (n, M, 12, 2) `paths` with (n, M) `log_probs` against the (n, 12, 2) `future`.

    >>> truth = np.zeros((1, 12, 2))
    >>> score(truth[:, None], [[0.0]], truth).ade
    0.0
    """
    truth = frozen_array("future", future, np.float64, (None, FUTURE_STEPS, 2))
    predicted = frozen_array("paths", paths, np.float64, (len(truth), None, FUTURE_STEPS, 2))
    modes = predicted.shape[1]
    weights = frozen_array("log_probs", log_probs, np.float64, (len(truth), modes))
    if len(truth) == 0 or modes == 0:
        raise InvalidInputError(f"score: expected at least one window and one path, got {len(truth)} and {modes}")
    if not (np.isfinite(predicted).all() and np.isfinite(truth).all()):
        raise InvalidInputError("score: paths and future must be finite")
    errors = np.linalg.norm(predicted - truth[:, None], axis=-1)
    order = likeliest(weights)
    ade = np.take_along_axis(errors.mean(axis=2), order, axis=1)
    fde = np.take_along_axis(errors[:, :, -1], order, axis=1)
    nll = -np.take_along_axis(np.take_along_axis(weights, order, axis=1), ade.argmin(axis=1)[:, None], axis=1)
    return ForecastMetrics(
        windows=len(truth),
        ade=float(ade[:, 0].mean()),
        fde=float(fde[:, 0].mean()),
        ade_best20=float(ade.min(axis=1).mean()),
        fde_best20=float(fde.min(axis=1).mean()),
        mode_nll=None if modes == 1 else float(nll.mean()),
        miss_rate=float((fde[:, 0] > MISS_DISTANCE_M).mean()),
        miss_rate_best20=float((fde.min(axis=1) > MISS_DISTANCE_M).mean()),
    )


def likeliest(log_probs: npt.NDArray[np.floating]) -> Int64Array:
    """(n, min(M, 20)): the modes that the best of 20 is taken from, the most likely first."""
    modes: Int64Array = np.argsort(-log_probs, axis=1, kind="stable")[:, :BEST_OF]
    return modes


def score_path(path: Float64Array, future: Float64Array) -> ForecastMetrics:
    """Score one (n, 12, 2) path per window, such as a baseline's."""
    return score(path[:, None], np.zeros((len(path), 1)), future)


def mean_of_scenes(scenes: Sequence[ForecastMetrics]) -> ForecastMetrics:
    """The plain mean over scenes, each counting the same, as the literature's tables do; `windows` is the sum."""
    return _mean(scenes, [1.0] * len(scenes))


def mean_of_windows(parts: Sequence[ForecastMetrics]) -> ForecastMetrics:
    """What scoring the windows of all parts at once gives, to rounding: every window counts the same."""
    return _mean(parts, [part.windows for part in parts])


def _mean(parts: Sequence[ForecastMetrics], weights: Sequence[float]) -> ForecastMetrics:
    if not parts:
        raise InvalidInputError("mean: expected at least one set of scores, got none")
    nlls = [part.mode_nll for part in parts if part.mode_nll is not None]
    return ForecastMetrics(
        windows=sum(part.windows for part in parts),
        mode_nll=float(np.average(nlls, weights=weights)) if len(nlls) == len(parts) else None,
        **{name: float(np.average([getattr(part, name) for part in parts], weights=weights)) for name in _AVERAGED},
    )
