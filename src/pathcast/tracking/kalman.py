"""The motion of all tracks at once: a Kalman filter over box centre and size.

Each of the four box coordinates (centre x, centre y, width, height) moves on its own with a velocity that
decays with a time constant (an Ornstein-Uhlenbeck velocity): over short gaps that is the constant-velocity
model of SORT (Bewley et al. 2016), over long ones the object is expected to have stopped, as people do.
Coordinates are independent, so a covariance is three numbers a coordinate and nothing is inverted.

A motion table is a (20, n) float64 array, one column a track, so that every quantity lies together in memory.
Its rows are, for the four coordinates each: position (pixels), velocity (pixels/s), variance of position,
covariance, variance of velocity. Noise is proportional to the height of the box, which stands for the
object's scale. Boxes are (4, n): centre x, centre y, width, height.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.tracking.settings import MotionSettings

ROWS = 20
BOX = slice(0, 4)
_VELOCITY = slice(4, 8)
_MEAN, _UNCERTAINTY = slice(0, 8), slice(8, 16)
_VAR_POSITION, _COVARIANCE, _VAR_VELOCITY = slice(8, 12), slice(12, 16), slice(16, 20)
# Arrays, because NumPy takes up to twice as long to work with one of Python's numbers.
_MIN_SIZE_PX, _MIN_VARIANCE, _TWO = np.array(1.0), np.array(1e-9), np.array(2.0)


def initial_motion(boxes: Float64Array, settings: MotionSettings) -> Float64Array:
    """(20, n): objects first seen at `boxes` (4, n), standing still for all that is known."""
    motion = np.zeros((ROWS, boxes.shape[1]))
    motion[BOX] = boxes
    motion[_VAR_POSITION] = (settings.measurement_std * boxes[3]) ** 2
    motion[_VAR_VELOCITY] = (_per_coordinate(settings.initial_speed_std, settings.size_ratio) * boxes[3]) ** 2
    return motion


def predict(motion: Float64Array, elapsed_s: float, settings: MotionSettings) -> None:
    """Carry every column `elapsed_s` seconds on, in place."""
    keep, keep_twice, reach_s, noise = _transition(elapsed_s, settings)
    position, velocity, var_position = motion[BOX], motion[_VELOCITY], motion[_VAR_POSITION]
    covariance, var_velocity = motion[_COVARIANCE], motion[_VAR_VELOCITY]
    height = motion[3]
    added = noise * (height * height)
    moved = reach_s * var_velocity
    moved += covariance  # the covariance before its decay
    covariance += moved
    covariance *= reach_s
    var_position += covariance
    np.multiply(keep, moved, out=covariance)
    var_velocity *= keep_twice
    uncertainty = motion[8:].reshape(3, 4, motion.shape[1])
    uncertainty += added
    position += reach_s * velocity
    velocity *= keep
    np.maximum(motion[2:4], _MIN_SIZE_PX, out=motion[2:4])


def correct(motion: Float64Array, seen: Float64Array, scores: Float64Array, settings: MotionSettings) -> None:
    """Take in that the objects were seen at boxes `seen` (4, n), in place; a low score is trusted less."""
    noise = (1.0 + settings.score_doubt) - settings.score_doubt * scores
    noise *= seen[3]
    noise *= settings.measurement_std
    noise *= noise
    count = motion.shape[1]
    mean, uncertainty = motion[_MEAN].reshape(2, 4, count), motion[_UNCERTAINTY].reshape(2, 4, count)
    gains = uncertainty / (uncertainty[0] + noise)
    mean += gains * (seen - mean[0])
    # Of position and of velocity; the covariance lies between them.
    variances, size = motion[8:].reshape(3, 4, count)[::2], motion[2:4]
    var_velocity = variances[1]
    var_velocity -= gains[1] * uncertainty[1]
    np.multiply(gains, noise, out=uncertainty)
    np.maximum(variances, _MIN_VARIANCE, out=variances)
    np.maximum(size, _MIN_SIZE_PX, out=size)


def shift(motion: Float64Array, offset: tuple[float, float]) -> None:
    """Move every column by `offset` in x and y, pixels, in place: the camera moved, the objects did not."""
    motion[0:2] += np.array(offset)[:, np.newaxis]


def warp(motion: Float64Array, affine: Float64Array) -> None:
    """Carry every column into the picture after the camera moved by `affine` (2, 3), in place; it turns little."""
    (a, b, across), (c, d, down) = affine.tolist()
    scale = abs(a * d - b * c) ** 0.5
    for x, y, dx, dy in ((motion[0], motion[1], across, down), (motion[4], motion[5], 0.0, 0.0)):
        x[:], y[:] = a * x + b * y + dx, c * x + d * y + dy
    motion[2:4] *= scale
    motion[6:8] *= scale
    motion[8:] *= scale * scale
    np.maximum(motion[2:4], _MIN_SIZE_PX, out=motion[2:4])


def warp_corners(corners: Float64Array, affine: Float64Array) -> None:
    """The same for boxes given by their corners (4, n): they move and grow, and stay upright."""
    (a, b, across), (c, d, down) = affine.tolist()
    half = (corners[2:] - corners[:2]) * (0.5 * abs(a * d - b * c) ** 0.5)
    x, y = (corners[:2] + corners[2:]) * 0.5
    centre = np.stack((a * x + b * y + across, c * x + d * y + down))
    corners[:2], corners[2:] = centre - half, centre + half


def to_centre(corners: Float64Array) -> Float64Array:
    """Boxes (4, n), at least one pixel wide and high, of their corners (4, n): left, top, right, bottom."""
    boxes = corners.copy()
    centre, size = boxes[:2], boxes[2:]
    size -= centre
    centre += size / _TWO
    np.maximum(size, _MIN_SIZE_PX, out=size)
    return boxes


def to_corners(boxes: Float64Array) -> Float64Array:
    """Corners (n, 4), xyxy, of boxes (4, n)."""
    half = boxes[2:4] / _TWO
    corners = np.concatenate((boxes[0:2] - half, boxes[0:2] + half))
    return corners.T


@lru_cache(maxsize=256)
def _transition(
    elapsed_s: float, settings: MotionSettings
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """What `predict` multiplies with: of a velocity, what is left of it once and twice, and how far it carried, s.

    These are (4, 1); the noise (3, 4, 1) is per squared height. Frames mostly come at the same few steps of time.
    """
    decay_s = np.array([settings.velocity_decay_s] * 2 + [settings.size_decay_s] * 2)[:, np.newaxis]
    keep = np.exp(-elapsed_s / decay_s)
    spread = np.array([elapsed_s**3 / 3.0, elapsed_s**2 / 2.0, elapsed_s])[:, np.newaxis, np.newaxis]
    noise = spread * _per_coordinate(settings.acceleration_std, settings.size_ratio) ** 2
    return keep, keep**2, decay_s * (1.0 - keep), noise


def _per_coordinate(value: float, size_ratio: float) -> Float64Array:
    return np.array([[value], [value], [value * size_ratio], [value * size_ratio]])
