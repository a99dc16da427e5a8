"""What a frame looks like, in a few numbers, cheap enough for every frame: drift of the input shows in them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.track import FrameTracks
from pathcast.tracking.appearance import unit

ROW_STEP = 4
"""Every fourth row is looked at, at full width: scaling down first would hide the blur that is to be seen."""

_SECOND_DIFFERENCE = np.array([[1, -2, 1]], np.float32)


class FrameStatistics(NamedTuple):
    """What was measured.

    `brightness`: mean luminance, 0 to 255. `sharpness`: standard deviation of the second horizontal difference of
    luminance, in grey levels; an image out of focus, scaled up or behind a wet lens has less.
    """

    brightness: float
    sharpness: float


def measure_frame(image: UInt8Array) -> FrameStatistics:
    """The statistics of `image` (h, w, 3) RGB."""
    luminance = cv2.cvtColor(image[::ROW_STEP], cv2.COLOR_RGB2GRAY)
    curvature = cv2.filter2D(luminance, cv2.CV_16S, _SECOND_DIFFERENCE)
    _, deviation = cv2.meanStdDev(curvature)
    return FrameStatistics(float(cv2.mean(luminance)[0]), float(deviation[0, 0]))


def mean_appearance(detections: Detections, tracks: FrameTracks) -> Float32Array | None:
    """(d,) mean of the unit vectors of the detections that the tracks took; None where there is none.

    A detector passes on hundreds of boxes that it hardly believes. What no track takes is mostly noise.
    """
    if detections.embeddings is None:
        return None
    taken = tracks.detection_indices[tracks.detection_indices >= 0]
    looks = unit(detections.embeddings[taken])
    looks = looks[looks.any(axis=1)]
    return looks.mean(axis=0) if len(looks) else None
