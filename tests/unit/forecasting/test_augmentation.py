from __future__ import annotations

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.forecasting.augmentation import Augmentation

PATHS = np.random.default_rng(2).normal(size=(50, 20, 2)).cumsum(axis=1)
OFF = Augmentation(mirror=0.0, reverse=0.0, log_speed=0.0, noisy=0.0)


def lengths(paths: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(paths, axis=1), axis=2)


def test_nothing_asked_changes_nothing() -> None:
    np.testing.assert_allclose(OFF(PATHS, np.random.default_rng(0)), PATHS, atol=1e-12)


def test_a_mirror_keeps_lengths_and_turns_the_other_way() -> None:
    varied = Augmentation(mirror=1.0, reverse=0.0, log_speed=0.0, noisy=0.0)(PATHS, np.random.default_rng(0))
    np.testing.assert_allclose(lengths(varied), lengths(PATHS))
    before, after = np.diff(PATHS, axis=1), np.diff(varied, axis=1)
    turn = before[:, :-1, 0] * before[:, 1:, 1] - before[:, :-1, 1] * before[:, 1:, 0]
    mirrored = after[:, :-1, 0] * after[:, 1:, 1] - after[:, :-1, 1] * after[:, 1:, 0]
    np.testing.assert_allclose(mirrored, -turn, atol=1e-9)


def test_reversal_runs_the_path_backwards() -> None:
    varied = Augmentation(mirror=0.0, reverse=1.0, log_speed=0.0, noisy=0.0)(PATHS, np.random.default_rng(0))
    np.testing.assert_allclose(varied, PATHS[:, ::-1], atol=1e-12)


def test_speeds_stay_within_bounds() -> None:
    varied = Augmentation(mirror=0.5, reverse=0.0, log_speed=0.3, noisy=0.0)(PATHS, np.random.default_rng(0))
    factors = (lengths(varied) / lengths(PATHS)).mean(axis=1)
    assert np.exp(-0.3) <= factors.min() < 0.9
    assert 1.1 < factors.max() <= np.exp(0.3)


def test_noise_is_on_what_is_observed_alone_and_repeats_with_the_seed() -> None:
    noisy = Augmentation(mirror=0.0, reverse=0.0, log_speed=0.0, noisy=1.0, noise=0.1)
    varied = noisy(PATHS, np.random.default_rng(4))
    np.testing.assert_allclose(varied[:, 8:], PATHS[:, 8:], atol=1e-12)
    assert 0.03 < np.std(varied[:, :8] - PATHS[:, :8]) < 0.1
    np.testing.assert_array_equal(varied, noisy(PATHS, np.random.default_rng(4)))


def test_a_row_is_varied_the_same_whichever_rows_are_wanted() -> None:
    rows = np.array([7, 3, 40])
    varied = Augmentation()(PATHS, np.random.default_rng(4))
    np.testing.assert_array_equal(Augmentation()(PATHS, np.random.default_rng(4), rows=rows), varied[rows])


@pytest.mark.parametrize("paces", [(0.0,), (1.4, -1.8), (float("nan"),)])
def test_paces_that_cannot_be_played_are_refused(paces: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="expected paces above 0"):
        Augmentation(paces=paces)
