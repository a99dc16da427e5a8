"""What a frame looks like, in two numbers, cheap enough for every frame: drift of the input shows in them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array

ROW_STEP = 4
"""Every fourth row is looked at, at full width: scaling down first would hide the blur that is to be seen."""


class FrameStatistics(NamedTuple):
    """What was measured.

    `brightness`: mean luminance, 0 to 255. `sharpness`: standard deviation of the second horizontal difference of
    luminance, in grey levels; an image out of focus, scaled up or behind a wet lens has less.
    """

    brightness: float
    sharpness: float


def measure_frame(image: UInt8Array) -> FrameStatistics:
    """The statistics of `image` (h, w, 3) RGB."""
    luminance = cv2.cvtColor(np.ascontiguousarray(image[::ROW_STEP]), cv2.COLOR_RGB2GRAY)
    curvature = cv2.Sobel(luminance, cv2.CV_16S, 2, 0, ksize=1)
    _, deviation = cv2.meanStdDev(curvature)
    return FrameStatistics(float(cv2.mean(luminance)[0]), float(deviation[0, 0]))
