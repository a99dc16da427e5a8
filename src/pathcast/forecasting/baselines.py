"""Forecasts without learning: what every model must beat. All take (n, 8, 2) and give (n, 12, 2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.core.trajectory import FUTURE_STEPS

Baseline = Callable[[Float64Array], Float64Array]

_KALMAN_ACCELERATION = 0.1
_KALMAN_MEASUREMENT = 0.05


def stand_still(observed: Float64Array) -> Float64Array:
    """Stay at the last observed position."""
    return np.repeat(observed[:, -1:], FUTURE_STEPS, axis=1)


def constant_velocity(observed: Float64Array) -> Float64Array:
    """Repeat the last observed displacement (Schöller et al. 2020, "What the constant velocity model can teach us").

    >>> constant_velocity(np.arange(16.0).reshape(1, 8, 2))[0, 0]
    array([16., 17.])
    """
    return _extrapolate(observed, observed[:, -1] - observed[:, -2])


def constant_acceleration(observed: Float64Array) -> Float64Array:
    """Repeat the last change of displacement."""
    velocity = observed[:, -1] - observed[:, -2]
    acceleration = velocity - (observed[:, -2] - observed[:, -3])
    steps = np.arange(1, FUTURE_STEPS + 1, dtype=np.float64)[:, None]
    return observed[:, -1:] + steps * velocity[:, None] + steps * (steps + 1) / 2 * acceleration[:, None]


def linear_fit(observed: Float64Array) -> Float64Array:
    """Walk on from the last position with the least-squares velocity of all 8 positions."""
    times = np.arange(observed.shape[1], dtype=np.float64)
    weights = (times - times.mean()) / np.square(times - times.mean()).sum()
    return _extrapolate(observed, np.einsum("t,ntc->nc", weights, observed))


def kalman(observed: Float64Array) -> Float64Array:
    """Kalman filter with a constant-velocity state per axis.

    Random acceleration of 0.1 units/step² and a measurement error of 0.05 units, which suits metres and steps
    of 0.4 s.
    """
    transition = np.array([[1.0, 1.0], [0.0, 1.0]])
    process = _KALMAN_ACCELERATION**2 * np.array([[0.25, 0.5], [0.5, 1.0]])
    state = np.stack([observed[:, 0], observed[:, 1] - observed[:, 0]], axis=1)
    covariance = np.diag([_KALMAN_MEASUREMENT**2, 1.0])
    for step in range(1, observed.shape[1]):
        state = np.einsum("ij,njc->nic", transition, state)
        covariance = transition @ covariance @ transition.T + process
        gain = covariance[:, 0] / (covariance[0, 0] + _KALMAN_MEASUREMENT**2)
        state = state + gain[None, :, None] * (observed[:, step] - state[:, 0])[:, None]
        covariance = covariance - np.outer(gain, covariance[0])
    steps = np.arange(1, FUTURE_STEPS + 1, dtype=np.float64)[:, None]
    return state[:, :1] + steps * state[:, 1:]


def _extrapolate(observed: Float64Array, velocity: Float64Array) -> Float64Array:
    steps = np.arange(1, FUTURE_STEPS + 1, dtype=np.float64)[:, None]
    return observed[:, -1:] + steps * velocity[:, None]


BASELINES: dict[str, Baseline] = {
    "stand_still": stand_still,
    "constant_velocity": constant_velocity,
    "constant_acceleration": constant_acceleration,
    "linear_fit": linear_fit,
    "kalman": kalman,
}
