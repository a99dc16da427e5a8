from __future__ import annotations

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.core.trajectory import METRES
from pathcast.forecasting.analysis import (
    HORIZON_S,
    Predictions,
    by_horizon,
    by_speed,
    calibration,
    pool,
)
from pathcast.forecasting.evaluation import score_predictions
from pathcast.forecasting.windows import Windows

RANDOM = np.random.default_rng(3)


def walks(speeds_m_per_s: list[float]) -> Windows:
    """One straight walk along x per speed."""
    steps = 0.4 * np.asarray(speeds_m_per_s)[:, None] * np.arange(20)
    return Windows(np.stack([steps, steps * 0], axis=-1), np.arange(len(steps)), METRES)


def predicted(windows: Windows, offsets: list[float], probabilities: np.ndarray) -> Predictions:
    """One mode per offset: the truth moved sideways by it."""
    paths = np.repeat(windows.future[:, None], len(offsets), axis=1)
    paths[..., 1] += np.asarray(offsets)[None, :, None]
    return Predictions(windows, paths.astype(np.float32), np.log(probabilities).astype(np.float32))


def test_errors_at_each_step_are_means_of_scenes() -> None:
    near = predicted(walks([1.0]), [2.0, 1.0], np.array([[0.6, 0.4]]))
    far = predicted(walks([1.0, 1.5, 0.5]), [4.0, 3.0], np.array([[0.6, 0.4]] * 3))
    errors = by_horizon([near, far])
    np.testing.assert_allclose(errors.most_likely, np.full(12, 3.0), atol=1e-6)
    np.testing.assert_allclose(errors.best20, np.full(12, 2.0), atol=1e-6)
    np.testing.assert_allclose(errors.constant_velocity, np.zeros(12), atol=1e-6)
    assert HORIZON_S[0] == 0.4
    assert HORIZON_S[-1] == pytest.approx(4.8)


def test_of_more_than_20_modes_the_20_most_likely_count() -> None:
    probabilities = np.array([[2.0] * 20 + [1.0] * 4])
    right = predicted(walks([1.0]), [3.0] * 20 + [0.0] * 4, probabilities / probabilities.sum())
    np.testing.assert_allclose(by_horizon([right]).best20, np.full(12, 3.0), atol=1e-6)
    assert by_speed(right)["walking"].ade_best20 == pytest.approx(3.0)
    assert score_predictions(right).ade_best20 == pytest.approx(3.0)
    assert right.ranked_errors().shape == (1, 20, 12)


def test_speed_classes_take_their_own_windows() -> None:
    windows = walks([0.0, 0.1, 0.5, 1.2, 1.3, 3.0])
    offsets = np.array([0.1, 0.1, 0.5, 1.0, 2.0, 7.0])
    paths = windows.future[:, None] + offsets[:, None, None, None] * [0.0, 1.0]
    classes = by_speed(Predictions(windows, paths.astype(np.float32), np.zeros((6, 1), np.float32)))
    assert {name: entry.windows for name, entry in classes.items()} == {
        "standing": 2,
        "slow": 1,
        "walking": 2,
        "fast": 1,
    }
    assert [classes[name].ade for name in ("standing", "slow", "walking", "fast")] == pytest.approx([0.1, 0.5, 1.5, 7])
    assert classes["walking"].constant_velocity_fde == pytest.approx(0.0, abs=1e-6)
    assert by_speed(predicted(walks([1.0]), [1.0], np.ones((1, 1))))["fast"].ade is None


def test_probabilities_that_come_true_are_calibrated_and_certainty_that_fails_is_not() -> None:
    windows = walks([1.0] * 4000)
    probabilities = RANDOM.dirichlet(np.ones(5), 4000)
    drawn = (RANDOM.random(4000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    paths = np.repeat(windows.future[:, None], 5, axis=1)
    paths[np.arange(4000)[:, None], (drawn[:, None] + np.arange(1, 5)) % 5] += 1.0
    honest = calibration(Predictions(windows, paths.astype(np.float32), np.log(probabilities).astype(np.float32)))
    assert honest.expected_error < 0.02
    np.testing.assert_allclose(honest.predicted, honest.happened, atol=0.05)
    assert honest.most_likely_predicted == pytest.approx(honest.most_likely_happened, abs=0.03)
    assert (np.diff(honest.predicted) > 0).all()
    boast = calibration(predicted(walks([1.0] * 10), [1.0, 0.0], np.array([[0.9, 0.1]] * 10)), bins=2)
    assert boast.expected_error == pytest.approx(0.9, abs=1e-6)
    assert (boast.most_likely_predicted, boast.most_likely_happened) == (pytest.approx(0.9), 0.0)


def test_pooled_predictions_keep_their_order() -> None:
    parts = [predicted(walks([speed]), [speed], np.ones((1, 1))) for speed in (1.0, 2.0, 3.0)]
    np.testing.assert_allclose(pool(parts).errors()[:, 0, 0], [1.0, 2.0, 3.0], atol=1e-6)


@pytest.mark.parametrize(("windows", "modes"), [(1, 3), (0, 2)])
def test_predictions_that_do_not_fit_are_refused(windows: int, modes: int) -> None:
    with pytest.raises(InvalidInputError, match="predictions: expected paths"):
        Predictions(walks([1.0] * windows), np.zeros((windows, 2, 12, 2), np.float32), np.zeros((windows, modes), "f4"))
