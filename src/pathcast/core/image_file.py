"""Images from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import PathcastError


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


def write_image(path: Path, pixels: UInt8Array, options: Sequence[int] = ()) -> None:
    """Write pixels (h, w, 3) RGB in the format of the suffix, its folder made; PathcastError where that cannot be.

    `options` are OpenCV's, as for the quality.
    """
    # Not by `cv2.imwrite`, which ends the process on a name that is no UTF-8 and does not say why it failed.
    try:
        fits, encoded = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        fits = False
    if not fits:
        height, width = pixels.shape[:2]
        raise PathcastError(
            f"{path}: the image cannot be written: its format takes no {width} x {height} pixels in colour",
            hint="write PNG",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise PathcastError(
            f"{path}: the image cannot be written: {error.strerror}", hint="check permissions and free space"
        ) from error
