"""Which frames of a clip are worth anything: not black, not a blur, not the frame before once more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Int64Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.video import evenly

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """From where on a frame is left out.

    `dark`: mean grey (0-255) below which; `blurred`: variance of the Laplacian below this share of the clip's
    median; `repeated`: mean difference (0-255) to the last frame that was kept, below which. A clip with less than
    `least` frames left is no clip.
    """

    dark: float = 6.0
    blurred: float = 0.1
    repeated: float = 0.05
    least: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """`frames` (count, h, w, 3) of a clip, in order, and how many were left out for which reason."""

    frames: UInt8Array
    dropped: Counter[str]


def good_frames(frames: UInt8Array, limits: QualityLimits) -> tuple[BoolArray, Counter[str]]:
    """Which of the frames (n, h, w, 3) are good, and how many are not, by reason."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    sharpness = np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])
    usual = float(np.median(sharpness))
    good, dropped = np.zeros(len(frames), np.bool_), Counter[str]()
    before = None
    for index, image in enumerate(grey):
        if image.mean() < limits.dark:
            dropped["dark"] += 1
        elif sharpness[index] < limits.blurred * usual:
            dropped["blurred"] += 1
        elif before is not None and float(np.abs(image.astype(np.int16) - before).mean()) < limits.repeated:
            dropped["repeated"] += 1
        else:
            good[index] = True
            before = image.astype(np.int16)
    return good, dropped


def checked_clip(name: str, frames: UInt8Array, count: int, limits: QualityLimits) -> Checked:
    """`count` good frames of the clip, spread evenly; where there are less, some stand twice.

    Raises InvalidInputError where less than `limits.least` are good.
    """
    good, dropped = good_frames(frames, limits)
    kept = frames[good]
    if len(kept) < limits.least:
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items()) or "no more frames"
        raise InvalidInputError(f"{name}: expected {limits.least} good frames or more, got {len(kept)} ({reasons})")
    return Checked(kept[positions(len(kept), count)], dropped)


def positions(available: int, wanted: int) -> Int64Array:
    """`wanted` positions in order, spread evenly; some twice where there are less than that.

    >>> positions(9, 3).tolist(), positions(2, 4).tolist()
    ([0, 4, 8], [0, 0, 1, 1])
    """
    if wanted <= available:
        return np.array(evenly(available, wanted), np.int64)
    return np.linspace(0, available - 1, wanted).round().astype(np.int64)
