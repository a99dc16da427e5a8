from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core import Track
from pathcast.core.trajectory import step_index, step_time
from pathcast.storage.resampling import resample

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = step_index(START)


def track(seconds: list[float]) -> Track:
    """A walker at x = t, y = -2 t, t in seconds from START."""
    moments = tuple(START + timedelta(seconds=second) for second in seconds)
    exact = [(moment - START).total_seconds() for moment in moments]
    boxes = [[0, 0, 1, 1]] * len(seconds)
    return Track("gate-1", 5, 0, moments, boxes, [[t, -2 * t] for t in exact], "m")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], []),
        ([0.1], []),
        ([0.0], [(0, 1)]),
        ([0.4], [(1, 1)]),
        ([0.1, 0.3], []),
        ([0.1, 0.4], [(1, 1)]),
        ([0.0, 0.8], [(0, 3)]),
        ([0.1, 2.1], [(1, 5)]),
        ([0.1, 2.100001], []),
        ([0.3, 0.5, 2.6, 3.3], [(1, 1), (7, 2)]),
    ],
)
def test_stretches(seconds: list[float], expected: list[tuple[int, int]]) -> None:
    found = resample(track(seconds))
    assert [(piece.first_step - FIRST, len(piece)) for piece in found] == expected


def test_shorter_limit_splits_more() -> None:
    pieces = resample(track([0.0, 0.4, 1.2, 1.6]), max_gap=timedelta(seconds=0.5))
    assert [len(piece) for piece in pieces] == [2, 2]


@given(st.lists(st.integers(0, 20_000_000), min_size=1, max_size=40, unique=True))
def test_straight_lines_stay_straight_and_inside(microseconds: list[int]) -> None:
    given_track = track([each / 1e6 for each in sorted(microseconds)])
    for piece in resample(given_track):
        moments = [step_time(piece.first_step + step) for step in range(len(piece))]
        assert given_track.captured_at[0] <= moments[0] <= moments[-1] <= given_track.captured_at[-1]
        seconds = np.array([(moment - START).total_seconds() for moment in moments])
        np.testing.assert_allclose(piece.positions, np.column_stack([seconds, -2 * seconds]), atol=1e-9)
        assert (piece.track_id, piece.class_id, piece.units) == (5, 0, "m")
