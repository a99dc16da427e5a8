"""Images from files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array


def read_image(path: Path, mode: int = cv2.IMREAD_COLOR_RGB) -> UInt8Array | None:
    """The pixels (h, w, 3) RGB, or as OpenCV's `mode` has them; None where the file cannot be read as an image."""
    try:
        # Not by `cv2.imread`: a name that is no UTF-8, as one in Latin-1, ends the process there.
        return decode_image(path.read_bytes(), mode)
    except (OSError, ValueError):
        return None


def decode_image(encoded: bytes, mode: int = cv2.IMREAD_COLOR_RGB) -> UInt8Array | None:
    """As `read_image`, of a file's content."""
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), mode)
    except cv2.error:
        # Of nothing, or of a file that claims more pixels than OpenCV takes.
        return None
