"""Images from files."""

from __future__ import annotations

from pathlib import Path

import cv2

from pathcast.core.arrays import UInt8Array


def read_image(path: Path, mode: int = cv2.IMREAD_COLOR_RGB) -> UInt8Array | None:
    """The pixels (h, w, 3) RGB, or as OpenCV's `mode` has them; None where the file cannot be read as an image."""
    try:
        return cv2.imread(str(path), mode)
    except cv2.error:
        # Of a file that claims more pixels than OpenCV takes.
        return None
