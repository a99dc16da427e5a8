from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.forecasting.metrics import mean_of_scenes, mean_of_windows, score, score_path

RANDOM = np.random.default_rng(5)


def test_the_ground_truth_scores_exactly_zero() -> None:
    truth = RANDOM.normal(size=(30, 12, 2)) * 100
    metrics = score_path(truth, truth)
    assert (metrics.ade, metrics.fde, metrics.ade_best20, metrics.fde_best20) == (0.0, 0.0, 0.0, 0.0)
    assert metrics.mode_nll is None


def test_errors_are_of_the_most_likely_path_and_the_best_of_each() -> None:
    truth = np.zeros((1, 12, 2))
    steady = np.full((12, 2), [3.0, 4.0])
    late = np.zeros((12, 2))
    late[-1] = [12.0, 0.0]
    metrics = score(np.stack([late, steady])[None], np.log([[0.2, 0.8]]), truth)
    assert (metrics.ade, metrics.fde) == (5.0, 5.0)
    assert (metrics.ade_best20, metrics.fde_best20) == (1.0, 5.0)
    assert metrics.mode_nll == pytest.approx(-math.log(0.2))


def test_only_the_twenty_most_likely_count() -> None:
    truth = np.zeros((1, 12, 2))
    paths = np.ones((1, 21, 12, 2))
    paths[0, 7] = 0.0
    log_probs = np.zeros((1, 21))
    log_probs[0, 7] = -1.0
    assert score(paths, log_probs, truth).ade_best20 == pytest.approx(math.sqrt(2))
    assert score(paths, -log_probs, truth).ade_best20 == 0.0


@pytest.mark.parametrize(
    ("paths", "log_probs", "future", "message"),
    [
        (np.zeros((0, 1, 12, 2)), np.zeros((0, 1)), np.zeros((0, 12, 2)), "at least one window"),
        (np.zeros((2, 1, 11, 2)), np.zeros((2, 1)), np.zeros((2, 12, 2)), "paths: expected shape"),
        (np.full((1, 1, 12, 2), np.nan), np.zeros((1, 1)), np.zeros((1, 12, 2)), "must be finite"),
    ],
)
def test_what_cannot_be_scored_is_an_error(
    paths: np.ndarray, log_probs: np.ndarray, future: np.ndarray, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        score(paths, log_probs, future)


def test_a_miss_ends_more_than_two_metres_off() -> None:
    truth = np.zeros((4, 12, 2))
    paths = np.zeros((4, 2, 12, 2))
    paths[:, 0, -1, 0] = [0.0, 2.0, 2.01, 5.0]
    paths[:, 1, -1, 0] = [9.0, 9.0, 1.0, 9.0]
    metrics = score(paths, np.log([[0.6, 0.4]] * 4), truth)
    assert (metrics.miss_rate, metrics.miss_rate_best20) == (0.5, 0.25)
    assert mean_of_scenes([metrics, score_path(truth, truth)]).miss_rate == 0.25


def test_every_scene_counts_the_same_in_the_mean() -> None:
    near, far = np.full((1, 12, 2), [1.0, 0.0]), np.full((9, 12, 2), [3.0, 0.0])
    mean = mean_of_scenes([score_path(near, near * 0), score_path(far, far * 0)])
    assert (mean.windows, mean.ade, mean.mode_nll) == (10, 2.0, None)


def test_the_mean_of_windows_is_the_score_of_all_of_them() -> None:
    paths, future = RANDOM.normal(size=(9, 3, 12, 2)), RANDOM.normal(size=(9, 12, 2))
    log_probs = RANDOM.normal(size=(9, 3))
    parts = [score(paths[rows], log_probs[rows], future[rows]) for rows in (slice(0, 2), slice(2, 9))]
    assert asdict(mean_of_windows(parts)) == pytest.approx(asdict(score(paths, log_probs, future)))
    assert mean_of_windows([score_path(future, future)] * 2).mode_nll is None
