"""Stored tracks on the platform's 0.4 s grid."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from pathcast.core.clock import NANOSECONDS_PER_MICROSECOND, to_nanoseconds
from pathcast.core.track import Track
from pathcast.core.trajectory import Trajectory
from pathcast.forecasting.grid import MAX_GAP_NANOSECONDS, sample_on_grid

MAX_GAP = timedelta(microseconds=MAX_GAP_NANOSECONDS // NANOSECONDS_PER_MICROSECOND)


def resample(track: Track, *, max_gap: timedelta = MAX_GAP) -> list[Trajectory]:
    """The track's positions at the grid steps (see `sample_on_grid`), one trajectory for each stretch."""
    moments = np.array([to_nanoseconds(moment) for moment in track.captured_at], dtype=np.int64)
    max_gap_ns = max_gap // timedelta(microseconds=1) * NANOSECONDS_PER_MICROSECOND
    return [
        Trajectory(track.camera_id, track.track_id, track.class_id, first, points, track.units, seen)
        for first, points, seen in sample_on_grid(moments, track.positions, max_gap=max_gap_ns)
    ]
