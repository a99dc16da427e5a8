"""Prepared clips as files: `clips.json`, and `PART.npy` with frames (n, t, size, size, 3) UINT8, read when needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pathcast.core.arrays import Float32Array, Int64Array, UInt8Array
from pathcast.core.errors import InvalidInputError

_INDEX = "clips.json"


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """What is known of a prepared clip; `group` are clips of one recording, or of one person."""

    name: str
    label: str
    group: str
    part: str


@dataclass(frozen=True, slots=True, eq=False)
class PreparedClips:
    """One part: `frames` (n, t, size, size, 3) RGB, mapped from the file, `labels` (n,) as numbers in `classes`.

    A clip covers `window_s` seconds.
    """

    frames: UInt8Array
    labels: Int64Array
    entries: tuple[ClipEntry, ...]
    classes: tuple[str, ...]
    window_s: float = 2.0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> Float32Array:
        """(n, c): 1 at the label."""
        return np.eye(len(self.classes), dtype=np.float32)[self.labels]

    @property
    def groups(self) -> Int64Array:
        """(n,): clips of one recording, or of one person, share a number."""
        return np.unique([entry.group for entry in self.entries], return_inverse=True)[1]

    def clip(self, index: int) -> UInt8Array:
        """The frames (t, size, size, 3) of one clip, in memory."""
        return np.array(self.frames[index])


def write_clips(
    folder: Path,
    entries: Sequence[ClipEntry],
    classes: Sequence[str],
    clips: Iterable[UInt8Array],
    shape: tuple[int, int],
    window_s: float,
) -> None:
    """Write the clips, which come in the order of `entries`, each (t, size, size, 3) with `shape` (t, size)."""
    count, size = shape
    parts = sorted({entry.part for entry in entries})
    files = {
        part: np.lib.format.open_memmap(
            folder / f"{part}.npy",
            mode="w+",
            dtype=np.uint8,
            shape=(sum(entry.part == part for entry in entries), count, size, size, 3),
        )
        for part in parts
    }
    filled = dict.fromkeys(parts, 0)
    for entry, frames in zip(entries, clips, strict=True):
        files[entry.part][filled[entry.part]] = frames
        filled[entry.part] += 1
    for file in files.values():
        file.flush()
    index = {"classes": list(classes), "window_s": window_s, "clips": [asdict(entry) for entry in entries]}
    (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def read_clips(folder: Path, part: str) -> PreparedClips:
    """One part of a folder that `write_clips` wrote; InvalidInputError, naming the file, where it is none."""
    path = folder / _INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(ClipEntry(**entry) for entry in index["clips"] if entry["part"] == part)
        classes, window_s = tuple(index["classes"]), float(index["window_s"])
        frames = np.load(folder / f"{part}.npy", mmap_mode="r")
        labels = np.array([classes.index(entry.label) for entry in entries], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: expected prepared clips with a part {part}: {error!r}") from error
    if len(frames) != len(entries):
        raise InvalidInputError(f"{folder / part}.npy: expected {len(entries)} clips, got {len(frames)}")
    return PreparedClips(frames, labels, entries, classes, window_s)
