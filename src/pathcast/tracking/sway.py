"""How far the camera itself has moved since the last frame, told from the boxes alone.

A camera on a mast or a vehicle shakes, and then all objects stray from where they were expected by the
same offset. Its size is the median of their offsets; whether to believe it is learnt per camera: `sway`
is the running mean of how much larger the squared medians are than chance would make them, so for a fixed
camera it stays near zero and nothing is shifted, and for a shaking one the shift is applied in full.
"""

from __future__ import annotations

import math

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.tracking.settings import SwaySettings

# A normal distribution's standard deviation over its median absolute deviation, and the variance of the
# median of n normal values over that of their mean.
_DEVIATION_SCALE = 1.4826
_MEDIAN_VARIANCE = math.pi / 2
_LEAST_VARIANCE_PX2 = 0.25


def camera_shift(
    offsets: Float64Array, sway: Float64Array, settings: SwaySettings
) -> tuple[tuple[float, float], Float64Array]:
    """The shift in pixels, x and y, to apply to everything, and the camera's new `sway` (2,) in square pixels.

    `offsets` (2, n): where objects are seen minus where they were expected; n ≥ 1. An empirical-Bayes
    shrinkage of the median: shift = median * sway / (sway + caution * variance of the median).
    """
    middles = _medians(offsets.copy())
    spreads = _medians(np.abs(offsets - np.array(middles)[:, np.newaxis]))
    of_median = _DEVIATION_SCALE**2 * _MEDIAN_VARIANCE / offsets.shape[1]
    shift, updated = [0.0, 0.0], [0.0, 0.0]
    # Two numbers: plain floats are several times as fast as arrays of two.
    for axis, (middle, spread, before) in enumerate(zip(middles, spreads, sway.tolist(), strict=True)):
        variance = spread * spread * of_median + _LEAST_VARIANCE_PX2
        now = (1.0 - settings.rate) * before + settings.rate * (middle * middle - variance)
        updated[axis] = now
        if now > 0:
            shift[axis] = middle * now / (now + settings.caution * variance)
    return (shift[0], shift[1]), np.array(updated)


def _medians(values: Float64Array) -> list[float]:
    """Of each row of (2, n), which are sorted; as np.median, without its checks, which take longer than that."""
    values.sort(axis=1)
    last = values.shape[1] - 1
    return [(values.item(row, last // 2) + values.item(row, (last + 1) // 2)) / 2.0 for row in (0, 1)]
