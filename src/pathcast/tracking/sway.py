"""How far the camera itself has moved since the last frame, told from the boxes alone.

A camera on a mast or a vehicle shakes, and then all objects stray from where they were expected by the
same offset. Its size is the median of their offsets; whether to believe it is learnt per camera: `sway`
is the running mean of how much larger the squared medians are than chance would make them, so for a fixed
camera it stays near zero and nothing is shifted, and for a shaking one the shift is applied in full.
"""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.tracking.settings import SwaySettings

# A normal distribution's standard deviation over its median absolute deviation, and the variance of the
# median of n normal values over that of their mean.
_DEVIATION_SCALE = 1.4826
_MEDIAN_VARIANCE = np.pi / 2
_LEAST_VARIANCE_PX2 = 0.25


def camera_shift(
    offsets: Float64Array, sway: Float64Array, settings: SwaySettings
) -> tuple[Float64Array, Float64Array]:
    """The shift (2,) in pixels to apply to everything, and the camera's new `sway` (2,) in square pixels.

    `offsets` (n, 2): where objects are seen minus where they were expected; n ≥ 1. An empirical-Bayes
    shrinkage of the median: shift = median * sway / (sway + caution * variance of the median).
    """
    median = np.median(offsets, axis=0)
    deviation = _DEVIATION_SCALE * np.median(np.abs(offsets - median), axis=0)
    variance = deviation**2 * (_MEDIAN_VARIANCE / len(offsets)) + _LEAST_VARIANCE_PX2
    updated = (1.0 - settings.rate) * sway + settings.rate * (median**2 - variance)
    believed = np.maximum(updated, 0.0)
    shift: Float64Array = median * believed / (believed + settings.caution * variance)
    return shift, updated
