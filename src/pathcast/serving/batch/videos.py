"""Videos to work through: a file, or a folder of images; from any frame on."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.natural_order import natural_order
from pathcast.core.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, decode, read_claims

_PROBED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Video:
    """Frames at `frames_per_second`; `images` are their files, or () where `path` is one video file.

    `expected` is the number of frames that the file claims, 0 where it does not say.
    """

    path: Path
    frames_per_second: float
    expected: int
    images: tuple[Path, ...] = ()

    def frames(self, first: int = 0) -> Iterator[UInt8Array]:
        """Frames (h, w, 3) RGB from number `first` on, all of one size.

        Raises InvalidInputError where an image cannot be read or has another size than those before.
        """
        size: tuple[int, ...] | None = None
        for number, image in enumerate(self._images(first) if self.images else decode(self.path, first), start=first):
            if size is not None and image.shape != size:
                raise InvalidInputError(
                    f"{self.path}, frame {number}: expected {size[1]}x{size[0]} pixels as before, "
                    f"got {image.shape[1]}x{image.shape[0]}"
                )
            size = image.shape
            yield image

    def fingerprint(self) -> str:
        """What tells this video from another: names, sizes, and the first and last MiB of each file."""
        digest = hashlib.sha256(repr(self.frames_per_second).encode())
        for path in self.images or (self.path,):
            length = path.stat().st_size
            digest.update(f"{path.name} {length};".encode())
            with path.open("rb") as file:
                digest.update(file.read(_PROBED_BYTES))
                file.seek(max(_PROBED_BYTES, length - _PROBED_BYTES))
                digest.update(file.read(_PROBED_BYTES))
        return digest.hexdigest()

    def _images(self, first: int) -> Iterator[UInt8Array]:
        for path in self.images[first:]:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
            if image is None:
                raise InvalidInputError(f"image {path}: cannot be decoded", hint="remove or replace it")
            yield image.astype(np.uint8, copy=False)


def open_video(path: Path, frames_per_second: float | None = None) -> Video:
    """The video at `path`, a file or a folder of images; the given rate stands before the file's own.

    Images come in the order of their names, numbers in them by value.
    Raises InvalidInputError where there is nothing to read, or no rate is known.
    """
    if path.is_dir():
        files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        images = tuple(sorted(files, key=natural_order))
        if not images:
            raise InvalidInputError(f"{path}: expected a folder of images or videos, found neither")
        return Video(path, _rate(path, frames_per_second), len(images), images)
    if not path.is_file():
        raise InvalidInputError(f"video {path}: no such file or folder", hint="check the path")
    claimed, frames = read_claims(path)
    return Video(path, _rate(path, claimed if frames_per_second is None else frames_per_second), frames)


def find_videos(path: Path) -> list[Path]:
    """The videos at `path`: itself, or, where it is a folder of video files, these.

    Raises InvalidInputError where two have the same name but for the suffix: their results are named after it.
    """
    videos: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else ():
        if file.suffix.lower() in VIDEO_SUFFIXES:
            other = videos.setdefault(file.stem, file)
            if other != file:
                raise InvalidInputError(
                    f"{file}: expected a name of its own, its results would be written to those of {other.name}",
                    hint="rename one of the two, or run them apart",
                )
    return list(videos.values()) or [path]


def camera_name(path: Path) -> str:
    """A camera id for a video without a camera file.

    >>> camera_name(Path("Hall North (2).mp4"))
    'hall-north-2'
    """
    return re.sub(r"[^a-z0-9_-]+", "-", (path.name if path.is_dir() else path.stem).lower()).strip("-_")[:63] or "video"


def _rate(path: Path, value: float | None) -> float:
    if value is None or not math.isfinite(value) or value <= 0:
        raise InvalidInputError(f"{path}: expected a positive frame rate, got {value}", hint="give it with --fps")
    return value
