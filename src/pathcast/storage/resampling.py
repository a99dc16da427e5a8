"""Stored tracks on the platform's 0.4 s grid."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.clock import NANOSECONDS_PER_MICROSECOND, to_nanoseconds
from pathcast.core.track import Track
from pathcast.core.trajectory import STEP_NANOSECONDS, Trajectory

MAX_GAP = timedelta(seconds=2)


def resample(track: Track, *, max_gap: timedelta = MAX_GAP) -> list[Trajectory]:
    """Positions at the grid steps between the track's rows, by linear interpolation, never beyond them.

    A gap longer than `max_gap` splits the track: the result has one trajectory for each stretch that
    holds a grid step. The default is the gap at which live forecasting calls a track ended.
    """
    if len(track) == 0:
        return []
    moments = np.array([to_nanoseconds(moment) for moment in track.captured_at], dtype=np.int64)
    max_gap_ns = max_gap // timedelta(microseconds=1) * NANOSECONDS_PER_MICROSECOND
    breaks = np.flatnonzero(np.diff(moments) > max_gap_ns) + 1
    stretches = zip(np.split(moments, breaks), np.split(track.positions, breaks), strict=True)
    return [found for stretch in stretches if (found := _sample(track, *stretch)) is not None]


def _sample(track: Track, moments: Int64Array, positions: Float64Array) -> Trajectory | None:
    first = -(-int(moments[0]) // STEP_NANOSECONDS)
    last = int(moments[-1]) // STEP_NANOSECONDS
    if last < first:
        return None
    # Relative to the start, nanoseconds are exact in float64; since 1970 they are not.
    steps = (np.arange(first, last + 1) * STEP_NANOSECONDS - moments[0]).astype(np.float64)
    known = (moments - moments[0]).astype(np.float64)
    points = np.column_stack([np.interp(steps, known, positions[:, axis]) for axis in (0, 1)])
    return Trajectory(track.camera_id, track.track_id, track.class_id, first, points, track.units)
