"""Videos to work through: a file, or a folder of images; from any frame on."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import read_image
from pathcast.core.natural_order import natural_order
from pathcast.core.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, decode, read_claims, readable
from pathcast.messaging.jpeg import jpeg_size

_PROBED_BYTES = 1 << 20
_LEAST_RATE, _MOST_RATE = 0.001, 100_000.0
"""Between them the times of a long video's frames differ, by microseconds, and stay within the calendar."""

_SIDECARS = frozenset({".json", ".parquet", ".txt"})


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
                    f"{self.images[number] if self.images else self.path}, frame {number}: "
                    f"expected {size[1]}x{size[0]} pixels as before, got {image.shape[1]}x{image.shape[0]}",
                    hint="bring all to one size, or put those of another into a folder of their own",
                )
            size = image.shape
            yield image

    def fingerprint(self) -> str:
        """What tells this video from another: names, sizes, and the first and last MiB of each file."""
        digest = hashlib.sha256(repr(self.frames_per_second).encode())
        for path in self.images or (self.path,):
            with readable(path), path.open("rb") as file:
                length = path.stat().st_size
                digest.update(os.fsencode(path.name) + f" {length};".encode())
                digest.update(file.read(_PROBED_BYTES))
                file.seek(max(_PROBED_BYTES, length - _PROBED_BYTES))
                digest.update(file.read(_PROBED_BYTES))
        return digest.hexdigest()

    def _images(self, first: int) -> Iterator[UInt8Array]:
        for path in self.images[first:]:
            _check_whole(path)
            image = read_image(path)
            if image is None:
                raise InvalidInputError(f"image {path}: cannot be decoded", hint="remove or replace it")
            yield image.astype(np.uint8, copy=False)


def open_video(path: Path, frames_per_second: float | None = None) -> Video:
    """The video at `path`, a file or a folder of images; the given rate stands before the file's own.

    Images come in the order of their names, numbers in them by value.
    Raises InvalidInputError where there is nothing to read, or no rate is known.
    """
    files = files_in(path)
    if files is not None:
        images = tuple(sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_order))
        if not images:
            raise InvalidInputError(
                f"{path}: expected a folder of images or videos, found neither",
                hint=f"files are taken by these suffixes: {', '.join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))}",
            )
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
    for file in files_in(path) or ():
        if file.suffix.lower() in VIDEO_SUFFIXES:
            other = videos.setdefault(file.stem, file)
            if other != file:
                raise InvalidInputError(
                    f"{file}: expected a name of its own, its results would be written to those of {other.name}",
                    hint="rename one of the two, or run them apart",
                )
    return list(videos.values()) or [path]


def files_in(path: Path) -> list[Path] | None:
    """The files directly in the folder `path`, by name, links to nowhere too; None where it is no folder."""
    with readable(path):
        return [file for file in sorted(path.iterdir()) if not file.is_dir()] if path.is_dir() else None


def left_out(names: Iterable[str]) -> list[str]:
    """Which files of a folder are not read: others than videos, or, where there are none, than images.

    Hidden files and what lies beside recordings as data are not meant to be.

    >>> left_out(["gate.mp4", "yard.ogv", "poster.png", "tracks.txt", ".DS_Store"])
    ['poster.png', 'yard.ogv']
    """
    suffixes = {name: Path(name).suffix.lower() for name in names if not name.startswith(".")}
    read = VIDEO_SUFFIXES if VIDEO_SUFFIXES & set(suffixes.values()) else IMAGE_SUFFIXES
    return sorted(name for name, suffix in suffixes.items() if suffix not in read | _SIDECARS)


def camera_name(path: Path) -> str:
    """A camera id for a video without a camera file.

    >>> camera_name(Path("Hall North (2).mp4"))
    'hall-north-2'
    """
    return re.sub(r"[^a-z0-9_-]+", "-", (path.name if path.is_dir() else path.stem).lower()).strip("-_")[:63] or "video"


def _check_whole(path: Path) -> None:
    """Raises InvalidInputError where the file cannot be read or is a JPEG that is cut off, which would be decoded."""
    with readable(path):
        data = path.read_bytes()
    if not data.startswith(b"\xff\xd8"):
        return
    # Some cameras write more behind the end.
    image, end, _ = data.rpartition(b"\xff\xd9")
    try:
        jpeg_size(image + end or data)
    except InvalidInputError as error:
        raise InvalidInputError(f"image {path}: {error.message}", hint="remove or replace it") from error


def _rate(path: Path, value: float | None) -> float:
    if value is None or not _LEAST_RATE <= value <= _MOST_RATE:
        raise InvalidInputError(
            f"{path}: expected a positive frame rate, {_LEAST_RATE:g} to {_MOST_RATE:g}, got {value}",
            hint="give it with --fps",
        )
    return value
