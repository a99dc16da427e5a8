"""Clips of actions as files: UCF101's layout, folders of classes with videos, or with strips of frames.

UCF101 (Soomro et al. 2012, arXiv:1212.0402): `<folder>/<Class>/v_<Class>_g01_c01.avi` beside lists: `classInd.txt`
("1 ApplyEyeMakeup"), `trainlist01.txt` ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"), `testlist01.txt` (no
number). A strip is one image of square frames side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import read_image
from pathcast.core.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, decode_evenly, evenly

_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
_CLASS_LIST = "classInd.txt"
_UCF_GROUP = re.compile(r"v_.+_(g\d+)_c\d+")


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A labelled clip that is not read yet.

    `part` is "train" or "test" where the data set says so itself. `group` names clips that must not be parted
    (UCF101's cuts of one video); None where the data set names none.
    """

    path: Path
    label: str
    part: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class ClipSet:
    """The clips of a data set and its classes, in the order of their numbers."""

    files: tuple[ClipFile, ...]
    classes: tuple[str, ...]


def find_clips(root: Path, *, split: int = 1) -> ClipSet:
    """The clips at `root`, by UCF101's lists (of `split`) where there are some, else by folders of classes.

    Raises InvalidInputError where there is no folder, no clip, less than two classes, a class without a clip or with a
    comma in its name, or a list that names what is not there.
    """
    if not root.is_dir():
        raise InvalidInputError(f"{root}: no such folder", hint="give the folder that holds one for each action")
    lists = sorted(root.rglob(_CLASS_LIST))
    found = _by_lists(root, lists[0].parent, split) if lists else _by_folders(root)
    if not found.files:
        raise InvalidInputError(
            f"{root}: expected a folder for each action with its clips ({', '.join(sorted(_SUFFIXES))}), "
            "or UCF101's folders and lists; found no clip"
        )
    if len(found.classes) < 2:
        raise InvalidInputError(f"{root}: expected two classes or more, got {', '.join(found.classes)}")
    # Served models state their classes as one text.
    if parted := [name for name in found.classes if "," in name]:
        raise InvalidInputError(
            f"{root}: class {parted[0]!r}: expected a name without a comma", hint="rename the folder"
        )
    empty = sorted(set(found.classes) - {file.label for file in found.files})
    if empty:
        raise InvalidInputError(f"{root}: class {', '.join(empty)}: expected at least one clip, got none")
    return found


def read_frames(path: Path, count: int, size: int) -> UInt8Array:
    """At most `count` frames spread evenly over the clip, (n, size, size, 3) RGB, whatever their sides were.

    Raises InvalidInputError where the clip cannot be read or is no strip of square frames.
    """
    frames = _strip_frames(path, count) if path.suffix.lower() in IMAGE_SUFFIXES else decode_evenly(path, count)
    fitted = [cv2.resize(frame, (size, size), interpolation=_interpolation(frame, size)) for frame in frames]
    if not fitted:
        raise InvalidInputError(f"{path}: expected a clip, no frame of it can be read")
    return np.stack(fitted)


def _by_folders(root: Path) -> ClipSet:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = tuple(
        ClipFile(path, folder.name)
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _SUFFIXES
    )
    return ClipSet(files, tuple(folder.name for folder in folders))


def _by_lists(root: Path, lists: Path, split: int) -> ClipSet:
    classes: list[str] = []
    for line in _lines(lists / _CLASS_LIST):
        number, _, name = line.partition(" ")
        if not name or number != str(len(classes) + 1):
            raise InvalidInputError(
                f"{lists / _CLASS_LIST}: expected the lines '1 NAME', '2 NAME', … in order, got {line!r}"
            )
        classes.append(name)
    files = (path for path in root.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    videos = {f"{path.parent.name}/{path.name}": path for path in files}
    clips = []
    for part in ("train", "test"):
        listed = lists / f"{part}list{split:02d}.txt"
        for line in _lines(listed):
            name = line.split(" ")[0]
            label = name.partition("/")[0]
            if label not in classes:
                raise InvalidInputError(f"{listed}: {name}: expected a class of {_CLASS_LIST}, got {label}")
            if name not in videos:
                raise InvalidInputError(f"{listed}: {name}: no such clip below {root}")
            group = _UCF_GROUP.match(Path(name).stem)
            clips.append(ClipFile(videos[name], label, part, f"{label}-{group[1]}" if group else None))
    return ClipSet(tuple(clips), tuple(classes))


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: expected a list of UCF101: {error}") from error


def _strip_frames(path: Path, count: int) -> Iterator[UInt8Array]:
    image = read_image(path)
    if image is None:
        raise InvalidInputError(f"{path}: expected an image, it cannot be read")
    height, width, _ = image.shape
    if width % height or width == height:
        raise InvalidInputError(f"{path}: expected square frames side by side, got {width} x {height} pixels")
    for index in evenly(width // height, count):
        yield image[:, index * height : (index + 1) * height]


def _interpolation(frame: UInt8Array, size: int) -> int:
    return int(cv2.INTER_AREA if min(frame.shape[:2]) > size else cv2.INTER_LINEAR)
