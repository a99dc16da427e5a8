from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core import InvalidInputError, Trajectory
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES
from pathcast.forecasting.quality import AS_RECORDED, TrackQuality, choose, plausible_speed_per_s, stands


def trajectory(step_lengths: list[float], track_id: int = 1, class_id: int = 0, units: str = METRES) -> Trajectory:
    positions = np.column_stack([np.cumsum([0.0, *step_lengths]), np.zeros(len(step_lengths) + 1)])
    return Trajectory("gate", track_id, class_id, 100, positions, units)


@pytest.mark.parametrize(
    ("class_id", "units", "length", "parts"),
    [
        (0, METRES, 4.7, 1),
        (0, METRES, 4.9, 2),  # 12 m/s is 4.8 m a step
        (2, METRES, 4.9, 1),
        (2, METRES, 24.1, 2),
        (0, FRAME_HEIGHTS, 0.79, 1),
        (0, FRAME_HEIGHTS, 0.81, 2),
    ],
)
def test_steps_too_fast_for_the_class_cut(class_id: int, units: str, length: float, parts: int) -> None:
    given_one = trajectory([0.1] * 9 + [length] + [0.1] * 10, class_id=class_id, units=units)
    kept, drops = choose([given_one], TrackQuality(min_steps=1))
    assert [(each.first_step, len(each)) for each in kept] == ([(100, 21)] if parts == 1 else [(100, 10), (110, 11)])
    assert [(drop.reason, drop.trajectories) for drop in drops] == (
        [] if parts == 1 else [("cut at 1 steps that are too fast", 1)]
    )
    assert choose([given_one], AS_RECORDED)[0] == [given_one]


def test_an_outlier_of_one_step_goes_and_the_rest_stays() -> None:
    kept, drops = choose([trajectory([0.5] * 24 + [50, -50] + [0.5] * 24)], TrackQuality())
    assert [(each.first_step, len(each)) for each in kept] == [(100, 25), (126, 25)]
    assert [(drop.reason, drop.trajectories, drop.steps) for drop in drops] == [
        ("cut at 2 steps that are too fast", 1, 0),
        ("shorter than 20 steps", 1, 1),
    ]


@pytest.mark.parametrize(
    ("step_lengths", "units", "expected"),
    [
        ([0.0] * 40, METRES, True),
        ([0.2, -0.2] * 20, METRES, True),
        ([0.0] * 20 + [3.0, -3.0] + [0.0] * 20, METRES, True),
        ([0.02] * 40, METRES, True),
        ([0.03] * 40, METRES, False),
        ([0.0] * 60 + [1.0] * 10, METRES, True),
        ([1.0] * 10 + [0.0] * 5, METRES, False),
        ([0.6], METRES, False),
        ([], METRES, True),
        ([0.02] * 40, FRAME_HEIGHTS, False),
        ([0.001] * 40, FRAME_HEIGHTS, True),
    ],
)
def test_who_stands(step_lengths: list[float], units: str, expected: bool) -> None:
    assert stands(trajectory(step_lengths, units=units)) is expected


@given(standing=st.integers(0, 30), moving=st.integers(0, 30), share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
def test_no_more_stand_than_asked_for(standing: int, moving: int, share: float) -> None:
    tracks = [trajectory([0.0] * 20, track_id=number) for number in range(standing)]
    tracks += [trajectory([0.5] * 20, track_id=100 + number) for number in range(moving)]
    kept, drops = choose(tracks, TrackQuality(max_standing_share=share))
    stand = sum(each.track_id < 100 for each in kept)
    assert len(kept) - stand == moving
    assert stand <= share * len(kept) + 1e-9
    assert sum(drop.trajectories for drop in drops) == standing - stand
    # One more would be too many.
    assert stand == standing or stand + 1 > share * (len(kept) + 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_steps": 0}, "min_steps: expected 1 or more, got 0"),
        ({"max_speed_per_s": 0.0}, "max_speed_per_s: expected a speed above 0, got 0"),
        ({"max_speed_per_s": math.nan}, "max_speed_per_s: expected a speed above 0, got nan"),
        ({"max_standing_share": 1.5}, "max_standing_share: expected 0 to 1, got 1.5"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        TrackQuality(**settings)


def test_nothing_in_nothing_out() -> None:
    assert choose([], TrackQuality()) == ([], ())
    assert plausible_speed_per_s(0, METRES) < plausible_speed_per_s(2, METRES)


def test_a_trajectory_has_a_position() -> None:
    with pytest.raises(InvalidInputError, match="track 1 of gate: expected at least one position, got none"):
        Trajectory("gate", 1, 0, 0, [], METRES)
