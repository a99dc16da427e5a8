"""A prepared folder for the sign classifier: `train.npz`, `val.npz`, `test.npz`, and what they hold.

The frames of one sign passed by are nearly the same picture: a track lies in one part only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import Int64Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.recognition.choices import choose
from pathcast.recognition.gtsrb import SignRow, SignSet, read_gtsrb
from pathcast.recognition.sign_augmentation import MARGIN
from pathcast.recognition.sign_classes import CLASS_NAMES
from pathcast.recognition.sign_settings import SIDE
from pathcast.training.options import check_values

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Shares of each class's tracks that choose the epoch and that are held out, the latter where no test set is."""

    val: float = 0.1
    test: float = 0.15
    seed: int = 1

    def __post_init__(self) -> None:
        if min(self.val, self.test) < 0 or self.val + self.test >= 1:
            raise InvalidInputError(f"signs: expected shares that leave something to learn from, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """Samples: `images` (n, s, s, 3) RGB with their margins, `labels` (n,).

    `tracks` (n,): frames of one sign passed by share a number; a picture of an unknown track has one of its own.
    """

    images: UInt8Array
    labels: Int64Array
    tracks: Int64Array

    def __len__(self) -> int:
        return len(self.labels)


def prepare(source: Path, folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read GTSRB, split it by track and write the folder; returns the data card.

    Raises InvalidInputError naming file and row, or a class that nothing is to be learned of.
    """
    check_values("signs", options, asdict(SplitSettings()))
    settings = SplitSettings(**options)
    found = read_gtsrb(source)
    parts = split(found, settings)
    counts = {part: _by_class(rows) for part, rows in parts.items()}
    unseen = sorted({name for part in PARTS[1:] for name in counts[part]} - set(counts["train"]))
    if unseen:
        raise InvalidInputError(
            f"{source}: expected training pictures of every class that is judged, got none of {', '.join(unseen)}",
            hint="add tracks of these classes, or leave their pictures out of the test set",
        )
    for part, rows in parts.items():
        images = np.zeros((len(rows), SIDE + 2 * MARGIN, SIDE + 2 * MARGIN, 3), np.uint8)
        for number, row in enumerate(rows):
            images[number] = found.crop(row, SIDE, MARGIN)
        labels = np.array([row.label for row in rows], np.int64)
        _, tracks = np.unique([row.track or row.path for row in rows], return_inverse=True)
        np.savez(folder / f"{part}.npz", images=images, labels=labels, tracks=tracks)
    return {
        "layout": "GTSRB",
        "split": asdict(settings),
        "samples": {part: len(rows) for part, rows in parts.items()},
        "tracks": {part: len({row.track for row in rows if row.track}) for part, rows in parts.items()},
        "classes": counts,
        "choices": choose(counts["train"]).as_mapping(),
    }


def split(found: SignSet, settings: SplitSettings) -> dict[str, list[SignRow]]:
    """The rows of each part; a class keeps one track to learn from at the least."""
    random = np.random.default_rng(settings.seed)
    part_of: dict[str, str] = {}
    for label in sorted({row.label for row in found.training}):
        tracks = sorted({row.track for row in found.training if row.label == label and row.track})
        order = random.permutation(len(tracks)).tolist()
        held_out = 0 if found.test else _share(settings.test, len(tracks))
        chosen = _share(settings.val, len(tracks) - held_out)
        for rank, index in enumerate(order):
            part_of[tracks[index]] = PARTS[2] if rank < held_out else PARTS[1] if rank < held_out + chosen else PARTS[0]
    parts: dict[str, list[SignRow]] = {part: [] for part in PARTS}
    for row in found.training:
        parts[part_of[str(row.track)]].append(row)
    parts["test"] += found.test
    return parts


def read_signs(folder: Path, part: str) -> Signs:
    """One part of a prepared folder; InvalidInputError names the file that is missing, damaged or without tracks."""
    path = folder / f"{part}.npz"
    try:
        with np.load(path) as arrays:
            return Signs(arrays["images"], arrays["labels"], arrays["tracks"])
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(
            f"{path}: expected signs with labels and tracks: {error}", hint="prepare the folder again from the raw data"
        ) from error


def _share(share: float, tracks: int) -> int:
    """So many of the tracks: one or more where a share is wanted and another track is left."""
    return min(max(round(share * tracks), int(share > 0)), max(tracks - 1, 0))


def _by_class(rows: Sequence[SignRow]) -> dict[str, int]:
    counts = Counter(row.label for row in rows)
    return {CLASS_NAMES[label]: counts[label] for label in sorted(counts)}
