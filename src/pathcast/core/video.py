"""Video files as frames: which files count as videos or as images, and what decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError

COUNTED_SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mov", ".mp4"})
"""Videos that hold the number of their frames; of others it is an estimate from their duration, sound included."""

VIDEO_SUFFIXES = COUNTED_SUFFIXES | {".flv", ".m2ts", ".mkv", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_claims(path: Path) -> tuple[float, int]:
    """Frames a second and number of frames as the file claims them, 0 where it does not say.

    Raises InvalidInputError where it cannot be opened as a video.
    """
    with readable(path):
        if not path.is_file():
            raise InvalidInputError(f"video {path}: no such file", hint="check the path")
        path.open("rb").close()
    with _opened(path) as capture:
        if not capture.isOpened():
            raise InvalidInputError(f"video {path}: expected a video file, it cannot be opened as one")
        return float(capture.get(cv2.CAP_PROP_FPS)), max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))


def open_capture(path: Path) -> cv2.VideoCapture:
    """OpenCV's reader of a video file, opened if it could. Raises InvalidInputError where the name is no UTF-8."""
    # Of a relative path ffmpeg would take what stands before a colon for a protocol.
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError as error:
        # OpenCV ends the process on such a name.
        raise InvalidInputError(
            f"video {ascii(name)}: expected a name in UTF-8",
            hint="rename the file, or the folder that it lies in",
        ) from error
    return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


def decode(path: Path, first: int = 0) -> Iterator[UInt8Array]:
    """Frames (h, w, 3) RGB from number `first` on, as many as can be decoded."""
    with _opened(path) as capture:
        # Seeking by number lands on another frame in many files; decoding up to it does not.
        for _ in range(first):
            if not capture.grab():
                return
        while True:
            decoded, image = capture.read()
            if not decoded:
                return
            yield _rgb(image)


def decode_evenly(path: Path, wanted: int) -> Iterator[UInt8Array]:
    """`wanted` frames (h, w, 3) RGB spread evenly over a video; its first where it does not say how many it has."""
    with _opened(path) as capture:
        numbers = evenly(max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), wanted)
        for number in count():
            if not numbers or not capture.grab():
                return
            if number == numbers[0]:
                del numbers[0]
                decoded, image = capture.retrieve()
                if decoded:
                    yield _rgb(image)


def evenly(available: int, wanted: int) -> list[int]:
    """`wanted` positions spread evenly over `available`, ends included, each at most once.

    >>> evenly(9, 3), evenly(2, 5)
    ([0, 4, 8], [0, 1])
    """
    return sorted(set(np.linspace(0, available - 1, min(wanted, available)).round().astype(int).tolist()))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, what the system says against reading `path` becomes an InvalidInputError that names it."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"{path}: cannot be read: {error.strerror}", hint="check that it is there, and its permissions"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = open_capture(path)
    try:
        yield capture
    finally:
        capture.release()


def _rgb(image: MatLike) -> UInt8Array:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
