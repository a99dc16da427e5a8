"""A prepared folder for the detector: images, `train.json`, `val.json`, `test.json` and the data card.

Recordings are cut by time, each camera on its own, and images without a time by the order of their names, each folder
on its own, both with a gap, so that no frame has a neighbour in another part.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.coco_json import read_coco, write_coco
from pathcast.detection.gathered import gathered
from pathcast.detection.labelled import (
    BAD_LABELS,
    LISTED_TWICE,
    UNREADABLE,
    UNREADABLE_SET,
    Fault,
    LabelledImage,
    LabelledImages,
    refuse,
    with_own_identities,
)
from pathcast.detection.quality import QualityLimits, mended, unfit, validate

PARTS = ("train", "val", "test")
CARD = "card.json"
SELECTION = "selection.card"
"""Beside raw data from the platform's archive: how it was chosen and labelled, for the data card."""


_LEAST_FOLDER = 20
"""Folders of fewer images without a time are cut together, as one."""

RULE = (
    "with a time: each camera by itself, its end held out, gap_s seconds before each border, but at most a twentieth "
    "of the recording, in no part. Without: each folder by itself, in the order of the names (numbers as numbers), its "
    "end held out, stills_gap images before each border, but at most a twentieth of the folder, in no part. So names "
    "must follow the time where images are frames of a recording"
)


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Shares of the whole: the last `test` of a recording is held out, the `val` before it chooses the epoch.

    `gap_s` seconds before each border, at most a twentieth of the recording, are left out. Images without a time may
    be frames of a recording all the same: they are cut likewise, each folder in the order of its names, by the shares
    `stills_val` and `stills_test`, with `stills_gap` images before each border left out. All of the cameras in
    `held_out` are test.
    """

    val: float = 0.1
    test: float = 0.2
    stills_val: float = 0.1
    stills_test: float = 0.0
    gap_s: float = 2.0
    stills_gap: int = 10
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pairs = ((self.val, self.test), (self.stills_val, self.stills_test))
        if any(min(pair) < 0 or sum(pair) >= 1 for pair in pairs) or min(self.gap_s, self.stills_gap) < 0:
            raise InvalidInputError(f"split: expected shares that leave something to learn from, got {self}")


def split(labelled: LabelledImages, settings: SplitSettings) -> dict[str, LabelledImages]:
    """The parts by name; images in a gap are in none."""
    spans: dict[str, tuple[float, float]] = {}
    for image in labelled:
        if image.captured_at is not None:
            moment = image.captured_at.timestamp()
            first, last = spans.get(image.camera, (moment, moment))
            spans[image.camera] = (min(first, moment), max(last, moment))
    stills = _parts_of_stills(labelled, settings)
    parts: dict[str, list[LabelledImage]] = {part: [] for part in PARTS}
    for number, image in enumerate(labelled):
        if image.camera in settings.held_out:
            part: str | None = "test"
        elif image.captured_at is None:
            part = stills[number]
        else:
            part = _part_by_time(image.captured_at.timestamp(), *spans[image.camera], settings)
        if part is not None:
            parts[part].append(image)
    return {part: LabelledImages(labelled.root, tuple(images)) for part, images in parts.items()}


def prepare(
    sets: Sequence[LabelledImages],
    folder: Path,
    settings: SplitSettings | None = None,
    *,
    limits: QualityLimits | None = None,
    about: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Check, mend, split and filter the sets and write the folder; returns the data card.

    Boxes with faults are mended or dropped; images are dropped that are unreadable, or whose labels are in part; unfit
    ones are dropped from training alone. Objects are numbered through all sets. Raises InvalidInputError where a set
    as a whole is unreadable, or no box is left to learn from or to choose the epoch by.
    """
    rules = settings or SplitSettings()
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[Fault] = []
    sound: list[LabelledImages] = []
    for labelled in sets:
        found = validate(labelled)
        faults += found
        for fault in found:
            if fault.kind == UNREADABLE_SET:
                refuse(fault)
        unreadable = {fault.name for fault in found if fault.kind in (UNREADABLE, BAD_LABELS, LISTED_TWICE)}
        good = [mended(image) for image in labelled if image.name not in unreadable]
        sound.append(LabelledImages(labelled.root, tuple(good)))
    images = [image for each in gathered(with_own_identities(sound), folder) for image in each]
    parts = split(LabelledImages(folder, tuple(images)), rules)
    dropped = unfit(parts["train"], limits)
    names = {fault.name for fault in dropped}
    parts["train"] = parts["train"].where(lambda image: image.name not in names)
    if not len(parts["train"]) or not parts["train"].boxes_by_class():
        raise InvalidInputError(
            f"detector data: expected labelled images to learn from, none is left of {len(images)}",
            hint="`pathcast data check` lists faults and frames not worth learning from; val and test take shares",
        )
    if not parts["val"].boxes_by_class():
        sizes = ", ".join(f"{part} {len(labelled)}" for part, labelled in parts.items())
        raise InvalidInputError(
            f"detector data: expected labelled images to choose the epoch by, the part val has none (images: {sizes})",
            hint="give it more: val of each recording, stills_val of images without a time, or a longer recording; "
            "or less to test, so that val lies where there is something to see",
        )
    card = {
        "about": dict(about or {}),
        "sets": [
            {"cameras": sorted({image.camera for image in each}), "images": len(each), **each.about} for each in sets
        ],
        "split": {**asdict(rules), "rule": RULE},
        "parts": {part: describe(labelled) for part, labelled in parts.items()},
        "samples": {part: len(labelled) for part, labelled in parts.items()},
        "faults": dict(Counter(fault.kind for fault in faults)),
        "left_out_of_training": dict(Counter(fault.kind for fault in dropped)),
        "in_gaps": len(images) - len(names) - sum(map(len, parts.values())),
    }
    for part, labelled in parts.items():
        write_coco(folder / f"{part}.json", labelled)
    (folder / "faults.json").write_text(json.dumps([asdict(fault) for fault in [*faults, *dropped]], indent=1))
    (folder / CARD).write_text(json.dumps(card, indent=1))
    return card


def read_prepared(folder: Path, part: str) -> LabelledImages:
    """One part of a prepared folder."""
    return read_coco(folder / f"{part}.json")


def runs(labelled: LabelledImages, count: int) -> Int64Array:
    """(n,): which of `count` runs of equal length an image is in, in the order of cameras, times and names.

    Frames resemble each other for as long as the same objects are in view, so a bootstrap is to draw runs of them.
    Whole recordings it cannot draw, since a part has one or two as a rule: they are cut into as long runs as leave
    enough of them (Schmeiser 1982, Batch size effects in the analysis of simulation output, Oper. Res. 30, 556-568).
    What lasts longer than a run, such as the weather of the day, is not covered.
    """
    order = sorted(range(len(labelled)), key=lambda number: _order(labelled.images[number]))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order)) * count // max(len(order), 1)
    return numbers


def describe(labelled: LabelledImages) -> dict[str, Any]:
    """Counts and spans of a set, for its card."""
    cameras: dict[str, Any] = {}
    for camera in sorted({image.camera for image in labelled}):
        chosen = labelled.where(lambda image, camera=camera: image.camera == camera)  # type: ignore[misc]
        times = [image.captured_at for image in chosen if image.captured_at is not None]
        cameras[camera] = {
            "images": len(chosen),
            "boxes": chosen.boxes_by_class(),
            "ignored_boxes": int(sum(image.ignored.sum() for image in chosen)),
            "from": min(times).isoformat() if times else None,
            "to": max(times).isoformat() if times else None,
        }
    return {"images": len(labelled), "boxes": labelled.boxes_by_class(), "cameras": cameras}


def _part_by_time(moment: float, first: float, last: float, settings: SplitSettings) -> str | None:
    span = last - first
    gap = min(settings.gap_s, span / 20)
    for part, share, later in (("test", settings.test, 0.0), ("val", settings.val, settings.test)):
        border = first + span * (1 - later - share)
        if share and moment >= border - gap:
            return part if moment >= border else None
    return "train"


def _parts_of_stills(labelled: LabelledImages, settings: SplitSettings) -> dict[int, str | None]:
    """By its place in the set, the part of each image without a time."""
    folders: dict[tuple[str, str], list[int]] = {}
    for number, image in enumerate(labelled):
        if image.captured_at is None and image.camera not in settings.held_out:
            folders.setdefault((image.camera, str(Path(image.name).parent)), []).append(number)
    rows: dict[tuple[str, str], list[int]] = {}
    for (camera, folder), numbers in folders.items():
        rows.setdefault((camera, folder if len(numbers) >= _LEAST_FOLDER else ""), []).extend(numbers)
    found: dict[int, str | None] = {}
    for numbers in rows.values():
        count, gap = len(numbers), min(settings.stills_gap, len(numbers) // 20)
        shares = (settings.stills_val, settings.stills_test)
        val, test = (max(round(count * share), int(share > 0 and count > 2)) for share in shares)
        # However few they are, one is left to learn from.
        test = min(test, count - gap - 1)
        val = min(val, count - gap - 1 - test)
        in_gaps = {
            place
            for border, size in ((count - test - val, val), (count - test, test))
            if size
            for place in range(border - gap, border)
        }
        for place, number in enumerate(sorted(numbers, key=lambda each: _as_counted(labelled.images[each].name))):
            part = "train" if place < count - test - val else "val" if place < count - test else "test"
            found[number] = None if place in in_gaps else part
    return found


def _order(image: LabelledImage) -> tuple[str, float, list[tuple[str, int]]]:
    moment = image.captured_at.timestamp() if image.captured_at else 0.0
    return image.camera, moment, _as_counted(image.name)


def _as_counted(name: str) -> list[tuple[str, int]]:
    """The order of names in which frame 10 comes after frame 9."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]
