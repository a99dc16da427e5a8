"""Sampling at the platform's grid steps, for tracks whose rows lie anywhere in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.trajectory import STEP_NANOSECONDS

Sampled = tuple[int, Float64Array, npt.NDArray[np.bool_]]
"""First step, positions (m, 2) and whether there was a row between each step and the next, (m,): see `Trajectory`."""

MAX_GAP_NANOSECONDS = 2_000_000_000
"""The longest gap that interpolation bridges: the one at which live forecasting calls a track ended."""


def sample_on_grid(
    moments: Int64Array, positions: Float64Array, *, max_gap: int = MAX_GAP_NANOSECONDS
) -> list[Sampled]:
    """Positions at the grid steps between the rows, by linear interpolation, never beyond them.

    `moments` (n,) ns, strictly increasing; `positions` (n, 2). A gap longer than `max_gap` ns splits the
    track: the result has each stretch that holds a grid step.

    >>> [(step, points.tolist(), seen.tolist()) for step, points, seen in sample_on_grid(
    ...     np.array([100_000_000, 900_000_000]), np.array([[0.0, 0.0], [8.0, 4.0]]))]
    [(1, [[3.0, 1.5], [7.0, 3.5]], [False, True])]
    """
    if not len(moments):
        return []
    breaks = np.flatnonzero(np.diff(moments) > max_gap) + 1
    stretches = zip(np.split(moments, breaks), np.split(positions, breaks), strict=True)
    return [sampled for stretch in stretches if (sampled := _sample(*stretch)) is not None]


def _sample(moments: Int64Array, positions: Float64Array) -> Sampled | None:
    first = -(-int(moments[0]) // STEP_NANOSECONDS)
    last = int(moments[-1]) // STEP_NANOSECONDS
    if last < first:
        return None
    steps = np.arange(first, last + 1)
    # Relative to the start, nanoseconds are exact in float64; since 1970 they are not.
    wanted = (steps * STEP_NANOSECONDS - moments[0]).astype(np.float64)
    known = (moments - moments[0]).astype(np.float64)
    points = np.column_stack([np.interp(wanted, known, positions[:, axis]) for axis in (0, 1)])
    return first, points, np.isin(steps, moments // STEP_NANOSECONDS)
