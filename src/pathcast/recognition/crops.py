"""A box of an image as the small square that a classifier reads."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array


def square_crop(image: UInt8Array, xyxy: Sequence[float], side: int, margin: int = 0) -> UInt8Array:
    """The box `xyxy` (pixels) of an RGB image (h, w, 3), stretched to `side` pixels, and `margin` more around it.

    What lies outside the image repeats its edge. Shrinking averages areas, so that fine patterns do not flicker.
    """
    left, top, right, bottom = xyxy
    step = np.array([right - left, bottom - top]) / side
    limits = np.array([image.shape[1], image.shape[0]])
    # A neighbourhood with a pixel to spare is all that is looked at.
    low = np.floor([left, top] - margin * step - 1).clip(0, limits - 1).astype(int)
    high = np.maximum(np.ceil([right, bottom] + margin * step + 1).clip(0, limits).astype(int), low + 1)
    near = image[low[1] : high[1], low[0] : high[0]]
    if (step > 1).all():
        size = np.maximum(np.round((high - low) / step), 1).astype(int)
        near = cv2.resize(near, size.tolist(), interpolation=cv2.INTER_AREA)
    scale = np.array([near.shape[1], near.shape[0]]) / (high - low)
    first = (np.array([left, top]) - low) * scale
    step = step * scale
    # Pixel centres lie at halves.
    first = first + (0.5 - margin) * step - 0.5
    place = np.array([[step[0], 0, first[0]], [0, step[1], first[1]]])
    whole = side + 2 * margin
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(near, place, (whole, whole), flags=flags, borderMode=cv2.BORDER_REPLICATE))
