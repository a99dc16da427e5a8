from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.core.trajectory import METRES
from pathcast.forecasting.augmentation import Augmentation
from pathcast.forecasting.windows import Windows

RANDOM = np.random.default_rng(2)
PATHS = RANDOM.normal(size=(50, 20, 2)).cumsum(axis=1)
NEIGHBOURS, BACKWARDS = (
    np.pad(RANDOM.normal(size=(50, 8, 4)), ((0, 0), (0, 0), (0, 1)), constant_values=1) for _ in "ab"
)
NEIGHBOURS[:, 5:], BACKWARDS[:, 3:] = 0, 0
WINDOWS = Windows(PATHS, np.arange(50), METRES, None, NEIGHBOURS, BACKWARDS)
OFF = Augmentation(mirror=0.0, reverse=0.0, log_speed=0.0, noisy=0.0)


def lengths(paths: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(paths, axis=1), axis=2)


def together(windows: Windows) -> np.ndarray:
    """(n, 30, 2): a window's points relative to its last observed one, then where the neighbours were a step before."""
    there = windows.neighbours[..., 4:]
    places = np.stack([windows.neighbours[..., :2], windows.neighbours[..., :2] - windows.neighbours[..., 2:4]], axis=1)
    seen = (places - windows.paths[:, 7][:, None, None]) * there[:, None]
    return np.concatenate([windows.paths - windows.paths[:, 7:8], seen.reshape(len(windows), -1, 2)], axis=1)


def test_nothing_asked_changes_nothing_but_the_place() -> None:
    varied = OFF(WINDOWS, np.random.default_rng(0))
    np.testing.assert_allclose(varied.paths, PATHS - PATHS[:, 7:8], atol=1e-12)
    np.testing.assert_allclose(together(varied), together(WINDOWS), atol=1e-6)
    np.testing.assert_array_equal(varied.neighbours[:, 5:], 0)


def test_a_mirror_keeps_lengths_and_turns_the_other_way_the_others_too() -> None:
    varied = replace(OFF, mirror=1.0)(WINDOWS, np.random.default_rng(0))
    np.testing.assert_allclose(together(varied), together(WINDOWS) * [1, -1], atol=1e-6)


def test_reversal_runs_the_path_backwards_among_those_who_were_near_then() -> None:
    varied = replace(OFF, reverse=1.0)(WINDOWS, np.random.default_rng(0))
    backwards = Windows(PATHS[:, ::-1], np.arange(50), METRES, None, BACKWARDS)
    np.testing.assert_allclose(together(varied), together(backwards), atol=1e-6)


def test_speeds_stay_within_bounds_and_are_the_others_too() -> None:
    varied = replace(OFF, mirror=0.5, log_speed=0.3)(WINDOWS, np.random.default_rng(0))
    factors = lengths(varied.paths).sum(axis=1) / lengths(PATHS).sum(axis=1)
    assert np.exp(-0.3) <= factors.min() < 0.9
    assert 1.1 < factors.max() <= np.exp(0.3)
    np.testing.assert_allclose(np.abs(together(varied)), np.abs(together(WINDOWS)) * factors[:, None, None], atol=1e-6)


def test_noise_is_on_what_is_observed_alone_and_repeats_with_the_seed() -> None:
    noisy = replace(OFF, noisy=1.0, noise=0.1)
    varied, plain = noisy(WINDOWS, np.random.default_rng(4)), OFF(WINDOWS, np.random.default_rng(4))
    np.testing.assert_allclose(varied.future, plain.future, atol=1e-12)
    assert 0.03 < np.std(varied.observed - plain.observed) < 0.1
    trembling = (varied.neighbours - plain.neighbours)[:, :5]
    assert 0.03 < np.std(trembling[..., :2]) < 0.1
    # A displacement has the noise of both its ends.
    assert np.std(trembling[..., 2:4]) == pytest.approx(np.sqrt(2) * np.std(trembling[..., :2]), rel=0.2)
    np.testing.assert_array_equal(varied.neighbours[:, 5:], 0)
    again = noisy(WINDOWS, np.random.default_rng(4))
    np.testing.assert_array_equal(varied.paths, again.paths)
    np.testing.assert_array_equal(varied.neighbours, again.neighbours)


def test_a_row_is_varied_the_same_whichever_rows_are_wanted() -> None:
    rows = np.array([7, 3, 40])
    varied = Augmentation()(WINDOWS, np.random.default_rng(4))
    wanted = Augmentation()(WINDOWS, np.random.default_rng(4), rows)
    np.testing.assert_array_equal(wanted.paths, varied.paths[rows])
    np.testing.assert_array_equal(wanted.neighbours, varied.neighbours[rows])


@pytest.mark.parametrize("paces", [(0.9,), (1.4, -1.8), (float("nan"),)])
def test_paces_that_cannot_be_played_are_refused(paces: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="expected paces of 1 or more"):
        Augmentation(paces=paces)
