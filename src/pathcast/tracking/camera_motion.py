"""How the camera moved between two frames, read from their images.

Corners of the frame before are followed by sparse optical flow (Bouguet's pyramidal Lucas-Kanade), and the
shift, turn and zoom that most of them agree on (RANSAC) is the camera's, as in BoT-SORT (Aharon et al. 2022).
"""

from __future__ import annotations

import cv2
import numpy as np

from pathcast.core import InvalidInputError
from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.tracking.settings import CameraMotionSettings

_QUALITY = 0.01


class CameraMotion:
    """Remembers the frame before, shrunk and grey, as `previous` (h, w), or None before the first."""

    def __init__(self, settings: CameraMotionSettings, previous: UInt8Array | None = None) -> None:
        self._settings = settings
        self.previous = previous

    def update(self, image: UInt8Array | None) -> Float64Array | None:
        """(2, 3): pixels of the frame before, in pixels of `image` (h, w, 3) RGB; None where that cannot be told.

        A frame without an image is forgotten: between those around it lie the motions of two frames.
        """
        if image is None:
            self.previous = None
            return None
        scale = min(1.0, self._settings.width_px / image.shape[1])
        size = (round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))
        grey: UInt8Array = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        before, self.previous = self.previous, grey
        if before is None or before.shape != grey.shape:
            return None
        affine = self._between(before, grey)
        if affine is not None:
            affine[:, 2] *= (image.shape[1] / size[0], image.shape[0] / size[1])
        return affine

    def _between(self, before: UInt8Array, now: UInt8Array) -> Float64Array | None:
        settings = self._settings
        corners = cv2.goodFeaturesToTrack(before, settings.corners, _QUALITY, settings.distance_px)
        if corners is None or len(corners) < settings.least_inliers:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, corners, None)
        kept = found.ravel() == 1
        if kept.sum() < settings.least_inliers:
            return None
        affine, inliers = cv2.estimateAffinePartial2D(
            corners[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=settings.tolerance_px
        )
        if affine is None or int(inliers.sum()) < settings.least_inliers:
            return None
        return np.asarray(affine, dtype=np.float64)


def check_image(image: UInt8Array) -> None:
    """Raise InvalidInputError unless `image` is (h, w, 3) of bytes."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInputError(f"image: expected uint8 (h, w, 3), got {image.dtype} {image.shape}")
