from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from pathcast.core import InvalidInputError
from pathcast.forecasting.losses import forecast_loss
from pathcast.forecasting.model import (
    DAMPING,
    NEAR_M,
    ChosenVelocity,
    Roughness,
    build_forecaster,
    get_weights,
    restore_forecaster,
)
from pathcast.forecasting.neighbours import nearest_others
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster

RANDOM = np.random.default_rng(8)
WALKS = (RANDOM.normal(size=(40, 1, 2)) * 0.5 + RANDOM.normal(size=(40, 8, 2)) * 0.05).cumsum(axis=1).astype(np.float32)
NEAR = nearest_others(WALKS[:, -1], WALKS[:, -1] - WALKS[:, -2]).astype(np.float32)
NEAR[:, 5:] = 0
NOBODY = np.zeros_like(NEAR)


@pytest.fixture(scope="module")
def shipped() -> keras.Model:
    return restore_forecaster(shipped_forecaster())


def predicted(model: keras.Model, observed: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    outputs = model({"observed": observed, "neighbours": neighbours}, training=False)
    return np.asarray(outputs["paths"]), np.asarray(outputs["log_probs"])


def test_shapes_and_probabilities(shipped: keras.Model) -> None:
    paths, log_probs = predicted(shipped, WALKS, NEAR)
    assert paths.shape == (40, 20, 12, 2)
    assert log_probs.shape == (40, 20)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1.0, atol=1e-5)
    assert (log_probs.argmax(axis=1) == 0).all()


@pytest.mark.parametrize("angle", [0.0, 2.1, -0.7])
def test_moved_and_turned_scenes_have_moved_and_turned_forecasts(shipped: keras.Model, angle: float) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = (WALKS @ turn + [12.0, -7.0]).astype(np.float32)
    there = NEAR[..., 4:]
    near = np.concatenate([(NEAR[..., :2] @ turn + [12.0, -7.0]) * there, NEAR[..., 2:4] @ turn, there], axis=-1)
    paths, log_probs = predicted(shipped, WALKS, NEAR)
    moved_paths, moved_log_probs = predicted(shipped, moved, near.astype(np.float32))
    np.testing.assert_allclose(moved_paths, paths @ turn + [12.0, -7.0], atol=1e-3)
    np.testing.assert_allclose(moved_log_probs, log_probs, atol=1e-3)


def test_the_order_of_neighbours_says_nothing(shipped: keras.Model) -> None:
    shuffled = np.stack([RANDOM.permutation(each) for each in NEAR])
    for values, wanted in zip(predicted(shipped, WALKS, shuffled), predicted(shipped, WALKS, NEAR), strict=True):
        np.testing.assert_allclose(values, wanted, atol=1e-4)


def test_neighbours_change_the_best_guess_and_nobody_is_where_none_is_said_to_be(shipped: keras.Model) -> None:
    alone, among = predicted(shipped, WALKS, NOBODY)[0], predicted(shipped, WALKS, NEAR)[0]
    assert np.isfinite(alone).all()
    assert np.linalg.norm(alone[:, 0, -1] - among[:, 0, -1], axis=-1).mean() > 0.02
    absent = NEAR.copy()
    absent[..., 4] = 0
    np.testing.assert_allclose(predicted(shipped, WALKS, absent)[0], alone, atol=1e-5)


def one_neighbour(place: float, step: float) -> np.ndarray:
    """Everyone has one, `place` further along x, who has come `step` along x."""
    near = NOBODY.copy()
    near[:, 0] = np.insert(np.zeros((40, 3)), [0, 0], WALKS[:, -1], axis=1) + [place, 0, step, 0, 1]
    return near


@pytest.mark.parametrize("place", [NEAR_M + 0.1, 100.0, 1e5])
def test_who_is_far_away_is_nobody(shipped: keras.Model, place: float) -> None:
    alone, among = predicted(shipped, WALKS, NOBODY)[0], predicted(shipped, WALKS, one_neighbour(place, 1.0))[0]
    np.testing.assert_allclose(among, alone, atol=1e-4)


@pytest.mark.parametrize(("place", "step"), [(0.0, 0.0), (1.0, 1e3), (1.0, 1e5)])
def test_who_stands_in_the_same_place_or_is_very_fast_breaks_nothing(
    shipped: keras.Model, place: float, step: float
) -> None:
    paths, log_probs = predicted(shipped, WALKS, one_neighbour(place, step))
    fast = predicted(shipped, WALKS, one_neighbour(place, step / 10))[0]
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(paths, fast, atol=1.0)


def test_roughness_tells_measured_from_drawn_paths() -> None:
    drawn = np.repeat(np.arange(8.0)[None, :, None], 2, axis=2) * 0.3
    corner = drawn.copy()
    corner[:, 4:, 1] = corner[:, 4:5, 1]
    trembling = drawn + RANDOM.normal(size=(1, 8, 2)) * 0.05
    rough, exact, _, _ = np.asarray(Roughness()(np.concatenate([drawn, corner, trembling]).astype(np.float32))).T
    assert rough[0] < rough[1] < rough[2]
    assert exact == pytest.approx([1.0, 5 / 6, 0.0], abs=1e-2)


def test_changes_of_measurements_undo_each_other_and_those_of_a_walker_do_not() -> None:
    measured = RANDOM.normal(size=(4000, 8, 2)) * 0.05
    speeding = RANDOM.normal(size=(4000, 8, 2)).cumsum(axis=1).cumsum(axis=1) * 0.05
    alike = np.asarray(Roughness()(np.concatenate([measured, speeding]).astype(np.float32)))[:, 2:]
    # Sums of 5 and of 4 products over one of 6 squares: the autocorrelations of white noise's second difference.
    assert alike[:4000].mean(axis=0) == pytest.approx([-2 / 3 * 5 / 6, 1 / 6 * 4 / 6], abs=0.05)
    assert alike[4000:].mean(axis=0) == pytest.approx([0, 0], abs=0.02)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ([0, 0, 0, 0, 0, 0, 30, -30], [7.0, -7.0]),
        ([0, 0, 0, 0, 0, 0, 30, 30], [7.0 * (1 - DAMPING), -7.0 * (1 - DAMPING)]),
        ([2, 2, 2, 2, 2, 2, 0, -30], [4.0, -4.0]),
    ],
)
def test_the_velocity_is_chosen_between_the_last_and_the_mean_step(choice: list[float], wanted: list[float]) -> None:
    along = np.arange(1, 8, dtype=np.float32)[None, :, None] * np.array([1, -1], np.float32)
    chosen = np.asarray(ChosenVelocity()(np.array([choice], np.float32), along))
    np.testing.assert_allclose(chosen, [[wanted]], rtol=1e-5)


@pytest.mark.parametrize("jitter", [0.0, 1e-7, 1e-3])
def test_someone_who_stands_still_is_foretold_to_stay_near(shipped: keras.Model, jitter: float) -> None:
    standing = np.full((5, 8, 2), 3.0, np.float32) + RANDOM.normal(size=(5, 8, 2)).astype(np.float32) * jitter
    paths, log_probs = predicted(shipped, standing, NOBODY[:5])
    assert np.isfinite(paths).all()
    assert np.isfinite(log_probs).all()
    assert np.abs(paths[:, 0] - 3.0).max() < 0.25


def test_a_fresh_network_walks_nearly_straight_on_by_its_last_step_above_all() -> None:
    keras.utils.set_random_seed(0)
    paths, _ = predicted(build_forecaster(ForecasterSettings(modes=4, units=8)), WALKS, NEAR)
    steps = np.diff(WALKS.astype(np.float64), axis=1)
    lead = np.exp(2.0)
    velocity = 0.95 * (steps[:, :-1].sum(axis=1) + lead * steps[:, -1]) / (6 + lead)
    straight = WALKS[:, -1] + 12 * velocity
    travelled = np.linalg.norm(straight - WALKS[:, -1], axis=-1)
    assert (np.linalg.norm(paths[:, 0, -1] - straight, axis=-1) < 0.1 * travelled + 0.3).all()


def test_weights_of_another_size_are_named() -> None:
    small = build_forecaster(ForecasterSettings(modes=4, units=8))
    with pytest.raises(InvalidInputError, match="forecaster weights: .*expected shape"):
        restore_forecaster(TrainedForecaster(ForecasterSettings(modes=4, units=16), get_weights(small)))


def test_the_loss_falls_to_the_classification_alone_at_the_truth() -> None:
    future = RANDOM.normal(size=(6, 12, 2)).astype(np.float32)
    paths = np.repeat(future[:, None], 3, axis=1)
    log_probs = np.log(np.full((6, 3), 1 / 3, np.float32))
    scale = np.ones((6, 1), np.float32)
    at_truth = float(forecast_loss(paths, log_probs, future, scale, temperature=1.0, classification_weight=0.0))
    assert at_truth == pytest.approx(0.0, abs=1e-3)
    apart = paths.copy()
    apart[:, 0] += 1.0
    best_guess = float(forecast_loss(apart, log_probs, future, scale, temperature=1e-3, classification_weight=0.0))
    assert best_guess == pytest.approx(1.5 * np.sqrt(2), rel=1e-3)


def test_the_best_guess_does_not_compete() -> None:
    future = RANDOM.normal(size=(6, 12, 2)).astype(np.float32)
    paths = tf.constant(future[:, None] + RANDOM.normal(size=(6, 3, 12, 2)).astype(np.float32))
    log_probs = np.log(np.full((6, 3), 1 / 3, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(paths)
        loss = forecast_loss(
            paths, log_probs, future, np.ones((6, 1), np.float32), temperature=1.0, best_guess_weight=0.0
        )
    pull = np.abs(tape.gradient(loss, paths).numpy()).max(axis=(0, 2, 3))
    assert pull[0] == 0
    assert (pull[1:] > 0).all()
