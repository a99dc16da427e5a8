from __future__ import annotations

import numpy as np
import pytest

from pathcast.tracking import kalman
from pathcast.tracking.settings import MotionSettings

SETTINGS = MotionSettings()
CORNERS = np.array([[100.0, 50, 140, 150], [10.0, 20, 30, 60]])
BOXES = kalman.to_centre(CORNERS.T)


def full_matrix_step(motion: np.ndarray, elapsed_s: float, seen: np.ndarray, score: float) -> np.ndarray:
    """The textbook filter of one row, coordinate by coordinate, with matrices."""
    result = motion.copy()
    predicted_height = motion[3]
    for index in range(4):
        decay = SETTINGS.velocity_decay_s if index < 2 else SETTINGS.size_decay_s
        ratio = 1.0 if index < 2 else SETTINGS.size_ratio
        keep = np.exp(-elapsed_s / decay)
        transition = np.array([[1, decay * (1 - keep)], [0, keep]])
        density = (SETTINGS.acceleration_std * ratio * predicted_height) ** 2
        process = density * np.array([[elapsed_s**3 / 3, elapsed_s**2 / 2], [elapsed_s**2 / 2, elapsed_s]])
        mean = motion[[index, 4 + index]]
        spread = np.array([[motion[8 + index], motion[12 + index]], [motion[12 + index], motion[16 + index]]])
        mean = transition @ mean
        spread = transition @ spread @ transition.T + process
        noise = (SETTINGS.measurement_std * (1 + SETTINGS.score_doubt * (1 - score)) * seen[3]) ** 2
        look = np.array([[1.0, 0.0]])
        gain = spread @ look.T / (look @ spread @ look.T + noise)
        mean = mean + (gain * (seen[index] - mean[0])).ravel()
        spread = (np.eye(2) - gain @ look) @ spread
        result[[index, 4 + index]] = mean
        result[[8 + index, 12 + index, 16 + index]] = spread[0, 0], spread[0, 1], spread[1, 1]
    return result


def test_agrees_with_the_matrix_form() -> None:
    motion = kalman.initial_motion(BOXES, SETTINGS)
    expected = motion.T.copy()
    generator = np.random.default_rng(5)
    for elapsed_s in (0.1, 0.04, 1.3, 0.2):
        seen = BOXES + generator.normal(0, 3, BOXES.shape)
        scores = np.array([0.9, 0.4])
        expected = np.array(
            [full_matrix_step(*row) for row in zip(expected, [elapsed_s] * 2, seen.T, scores, strict=True)]
        )
        kalman.predict(motion, elapsed_s, SETTINGS)
        kalman.correct(motion, seen, scores, SETTINGS)
        np.testing.assert_allclose(motion, expected.T, rtol=1e-9, atol=1e-9)


def test_boxes_are_what_was_seen_first() -> None:
    np.testing.assert_allclose(kalman.to_corners(kalman.initial_motion(BOXES, SETTINGS)[kalman.BOX]), CORNERS)


def test_one_long_step_moves_as_far_as_many_short_ones() -> None:
    motion = kalman.initial_motion(BOXES, SETTINGS)
    motion[4:6] = [[30, 5], [-10, 0]]
    stepped = motion.copy()
    kalman.predict(motion, 1.0, SETTINGS)
    for _ in range(50):
        kalman.predict(stepped, 0.02, SETTINGS)
    np.testing.assert_allclose(motion[:8], stepped[:8], rtol=1e-9)


def test_doubt_lowers_the_weight_of_a_low_score() -> None:
    motion = kalman.initial_motion(BOXES, SETTINGS)
    kalman.predict(motion, 0.1, SETTINGS)
    sure, unsure = motion.copy(), motion.copy()
    for table, score in ((sure, 1.0), (unsure, 0.2)):
        kalman.correct(table, BOXES + 10, np.full(2, score), SETTINGS)
    assert (sure[0] - motion[0] > unsure[0] - motion[0]).all()


def test_no_tracks_are_no_trouble() -> None:
    motion = kalman.initial_motion(np.empty((4, 0)), SETTINGS)
    kalman.predict(motion, 0.1, SETTINGS)
    kalman.correct(motion, np.empty((4, 0)), np.empty(0), SETTINGS)
    assert motion.shape == (kalman.ROWS, 0)


def test_a_box_never_loses_its_size() -> None:
    motion = kalman.initial_motion(kalman.to_centre(np.array([[5.0], [5], [5], [5]])), SETTINGS)
    motion[6:8] = -500
    kalman.predict(motion, 2.0, SETTINGS)
    assert motion[2:4, 0] == pytest.approx([1, 1])
