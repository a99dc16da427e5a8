from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.trajectory import METRES, Trajectory
from pathcast.forecasting.neighbours import NEIGHBOURS, moved, nearest_others, neighbours_along, scaled

RANDOM = np.random.default_rng(5)


@given(count=st.integers(0, 30), seed=st.integers(0, 99), data=st.data())
def test_the_nearest_of_the_known_others_are_told_and_nobody_twice(count: int, seed: int, data: st.DataObject) -> None:
    random = np.random.default_rng(seed)
    positions, steps = random.normal(size=(count, 2)), random.normal(size=(count, 2))
    known = random.random(count) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    others = nearest_others(positions, steps, known)
    assert others.shape == (count, NEIGHBOURS, 5)
    for walker in range(count):
        apart = np.linalg.norm(positions - positions[walker], axis=1)
        wanted = [row for row in np.argsort(apart, kind="stable") if row != walker and known[row]][:NEIGHBOURS]
        np.testing.assert_array_equal(others[walker, : len(wanted), :2], positions[wanted])
        np.testing.assert_array_equal(others[walker, : len(wanted), 2:4], steps[wanted])
        np.testing.assert_array_equal(others[walker, :, 4], np.arange(NEIGHBOURS) < len(wanted))
        np.testing.assert_array_equal(others[walker, len(wanted) :], 0)


def test_two_in_one_place_are_each_others_neighbours() -> None:
    others = nearest_others(np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert others[:, 0].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 0, 1]]


@pytest.mark.parametrize("backwards", [False, True])
def test_along_a_track_are_the_nearest_of_each_step(backwards: bool) -> None:
    walks = [
        Trajectory(camera, track, 0, first, RANDOM.normal(size=(length, 2)), METRES)
        for track, (camera, first, length) in enumerate([("a", 0, 6), ("a", 2, 3), ("b", 1, 4), ("a", 4, 1)])
    ]
    told = neighbours_along(walks, backwards=backwards)
    assert told.shape == (14, NEIGHBOURS, 5)
    first, second = walks[:2]
    near = {}
    for step in range(2, 5):
        last = step + 1 if backwards else step - 1
        if 2 <= last < 5:
            near[step] = second.positions[step - 2] - second.positions[last - 2]
    for step in range(6):
        wanted = [*second.positions[step - 2], *near[step], 1.0] if step in near else [0.0] * 5
        np.testing.assert_allclose(told[step, 0], wanted, atol=1e-6)
    np.testing.assert_array_equal(told[9:13], 0)


def test_who_was_not_seen_at_a_step_is_told_of_others_and_is_nobodys_neighbour() -> None:
    bridged = [True, True, False, False, True]
    walks = [
        Trajectory("a", track, 0, 0, RANDOM.normal(size=(5, 2)), METRES, seen)
        for track, seen in ((1, None), (2, bridged))
    ]
    first, second = np.split(neighbours_along(walks)[..., 4].sum(axis=1), 2)
    assert first.tolist() == [0, 1, 0, 0, 1]
    assert second.tolist() == [0, 1, 1, 1, 1]


def test_moving_and_scaling_leave_nobody_where_nobody_is() -> None:
    others = nearest_others(RANDOM.normal(size=(4, 2)), RANDOM.normal(size=(4, 2)))
    by, factors = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=(4, 2))
    np.testing.assert_allclose(moved(others, by)[:, :3, :2], others[:, :3, :2] + by[:, None])
    np.testing.assert_array_equal(moved(others, by)[..., 2:], others[..., 2:])
    np.testing.assert_allclose(scaled(others, factors)[..., :4], others[..., :4] * np.tile(factors, 2)[:, None])
    np.testing.assert_array_equal(scaled(others, 3.0)[..., 4], others[..., 4])
    for changed in (moved(others, by), scaled(others, factors)):
        np.testing.assert_array_equal(changed[:, 3:], 0)
