"""The motion of all tracks at once: a Kalman filter over box centre and size.

Each of the four box coordinates (centre x, centre y, width, height) moves on its own with a velocity that
decays with a time constant (an Ornstein-Uhlenbeck velocity): over short gaps that is the constant-velocity
model of SORT (Bewley et al. 2016), over long ones the object is expected to have stopped, as people do.
Coordinates are independent, so a covariance is three numbers a coordinate and nothing is inverted.

A motion table is a (n, 20) float64 array whose columns are, for the four coordinates each: position (pixels),
velocity (pixels/s), variance of position, covariance, variance of velocity. Noise is proportional to the
height of the box, which stands for the object's scale.
"""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.tracking.settings import MotionSettings

COLUMNS = 20
_POSITION, _VELOCITY = slice(0, 4), slice(4, 8)
_VAR_POSITION, _COVARIANCE, _VAR_VELOCITY = slice(8, 12), slice(12, 16), slice(16, 20)
_MIN_SIZE_PX = 1.0
_MIN_VARIANCE = 1e-9


def initial_motion(xyxy: Float64Array, settings: MotionSettings) -> Float64Array:
    """(n, 20): objects first seen at boxes `xyxy` (n, 4), standing still for all that is known."""
    motion = np.zeros((len(xyxy), COLUMNS))
    motion[:, _POSITION] = _to_centre(xyxy)
    scale = motion[:, 3:4]
    motion[:, _VAR_POSITION] = (settings.measurement_std * scale) ** 2
    motion[:, _VAR_VELOCITY] = (_per_coordinate(settings.initial_speed_std, settings.size_ratio) * scale) ** 2
    return motion


def predict(motion: Float64Array, elapsed_s: float, settings: MotionSettings) -> None:
    """Carry every row `elapsed_s` seconds on, in place."""
    decay_s = np.array([settings.velocity_decay_s] * 2 + [settings.size_decay_s] * 2)
    keep = np.exp(-elapsed_s / decay_s)
    reach_s = decay_s * (1.0 - keep)
    scale = motion[:, 3:4]
    density = (_per_coordinate(settings.acceleration_std, settings.size_ratio) * scale) ** 2
    covariance, var_velocity = motion[:, _COVARIANCE], motion[:, _VAR_VELOCITY]
    motion[:, _VAR_POSITION] += (2.0 * reach_s) * covariance + reach_s**2 * var_velocity
    motion[:, _VAR_POSITION] += density * (elapsed_s**3 / 3.0)
    motion[:, _COVARIANCE] = keep * (covariance + reach_s * var_velocity) + density * (elapsed_s**2 / 2.0)
    motion[:, _VAR_VELOCITY] = keep**2 * var_velocity + density * elapsed_s
    motion[:, _POSITION] += reach_s * motion[:, _VELOCITY]
    motion[:, _VELOCITY] *= keep
    np.maximum(motion[:, 2:4], _MIN_SIZE_PX, out=motion[:, 2:4])


def correct(motion: Float64Array, xyxy: Float64Array, scores: Float64Array, settings: MotionSettings) -> Float64Array:
    """The rows after seeing boxes `xyxy` (n, 4); an uncertain detection (low score) is trusted less."""
    seen = _to_centre(xyxy)
    scale = seen[:, 3:4]
    doubt = 1.0 + settings.score_doubt * (1.0 - scores[:, np.newaxis])
    noise = (settings.measurement_std * doubt * scale) ** 2
    corrected = np.empty_like(motion)
    var_position, covariance = motion[:, _VAR_POSITION], motion[:, _COVARIANCE]
    total = var_position + noise
    gain, velocity_gain = var_position / total, covariance / total
    residual = seen - motion[:, _POSITION]
    corrected[:, _POSITION] = motion[:, _POSITION] + gain * residual
    corrected[:, _VELOCITY] = motion[:, _VELOCITY] + velocity_gain * residual
    corrected[:, _VAR_POSITION] = np.maximum(gain * noise, _MIN_VARIANCE)
    corrected[:, _COVARIANCE] = covariance * noise / total
    corrected[:, _VAR_VELOCITY] = np.maximum(motion[:, _VAR_VELOCITY] - velocity_gain * covariance, _MIN_VARIANCE)
    np.maximum(corrected[:, 2:4], _MIN_SIZE_PX, out=corrected[:, 2:4])
    return corrected


def shift(motion: Float64Array, offset: Float64Array) -> None:
    """Move every row by `offset` (2,) pixels, in place: the camera moved, the objects did not."""
    motion[:, 0:2] += offset


def boxes(motion: Float64Array) -> Float64Array:
    """(n, 4) xyxy pixels where the rows stand now."""
    half = motion[:, 2:4] / 2.0
    return np.concatenate((motion[:, 0:2] - half, motion[:, 0:2] + half), axis=1)


def _to_centre(xyxy: Float64Array) -> Float64Array:
    size = xyxy[:, 2:] - xyxy[:, :2]
    return np.concatenate((xyxy[:, :2] + size / 2.0, np.maximum(size, _MIN_SIZE_PX)), axis=1)


def _per_coordinate(value: float, size_ratio: float) -> Float64Array:
    return np.array([value, value, value * size_ratio, value * size_ratio])
