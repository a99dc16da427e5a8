"""A prepared folder for the detector: images, `train.json`, `val.json`, `test.json` and the data card.

Recordings are cut by time, each camera on its own, with a gap, so that no frame has a neighbour in another part.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError
from pathcast.detection.coco_json import read_coco, write_coco
from pathcast.detection.gathered import gathered
from pathcast.detection.labelled import (
    BAD_LABELS,
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


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Shares of the whole: the last `test` of a recording is held out, the `val` before it chooses the epoch.

    `gap_s` seconds before each border are left out. Pictures that belong to no time are dealt out by their name,
    `stills_val` and `stills_test` of them. All of the cameras in `held_out` are test.
    """

    val: float = 0.1
    test: float = 0.2
    stills_val: float = 0.1
    stills_test: float = 0.0
    gap_s: float = 2.0
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pairs = ((self.val, self.test), (self.stills_val, self.stills_test))
        if any(min(pair) < 0 or sum(pair) >= 1 for pair in pairs) or self.gap_s < 0:
            raise InvalidInputError(f"split: expected shares that leave something to learn from, got {self}")


def split(labelled: LabelledImages, settings: SplitSettings) -> dict[str, LabelledImages]:
    """The parts by name; images in a gap are in none."""
    spans: dict[str, tuple[float, float]] = {}
    for image in labelled:
        if image.captured_at is not None:
            moment = image.captured_at.timestamp()
            first, last = spans.get(image.camera, (moment, moment))
            spans[image.camera] = (min(first, moment), max(last, moment))
    parts: dict[str, list[LabelledImage]] = {part: [] for part in PARTS}
    for image in labelled:
        part = _part_of(image, spans, settings)
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
    note: Callable[[str], None] = lambda text: None,
) -> Mapping[str, Any]:
    """Check, mend, split and filter the sets and write the folder; returns the data card.

    Boxes with faults are mended or dropped; images are dropped that are unreadable, or whose labels are in part; unfit
    ones are dropped from training alone. Objects are numbered through all sets. Raises InvalidInputError where a set
    as a whole is unreadable, or nothing to learn from is left.
    """
    rules = settings or SplitSettings()
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[Fault] = []
    sound: list[LabelledImages] = []
    for labelled in sets:
        note(f"checking {labelled.root}")
        found = validate(labelled)
        faults += found
        for fault in found:
            if fault.kind == UNREADABLE_SET:
                refuse(fault)
        unreadable = {fault.name for fault in found if fault.kind in (UNREADABLE, BAD_LABELS)}
        good = [mended(image) for image in labelled if image.name not in unreadable]
        sound.append(LabelledImages(labelled.root, tuple(good)))
    images = [image for each in gathered(with_own_identities(sound), folder) for image in each]
    parts = split(LabelledImages(folder, tuple(images)), rules)
    note("looking for blurred, dark and repeated frames")
    dropped = unfit(parts["train"], limits)
    names = {fault.name for fault in dropped}
    parts["train"] = parts["train"].where(lambda image: image.name not in names)
    if not len(parts["train"]) or not parts["train"].boxes_by_class():
        raise InvalidInputError(f"{folder}: expected labelled images to learn from, none is left of {len(images)}")
    card = {
        "about": dict(about or {}),
        "split": asdict(rules),
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


def _part_of(image: LabelledImage, spans: Mapping[str, tuple[float, float]], settings: SplitSettings) -> str | None:
    if image.camera in settings.held_out:
        return "test"
    if image.captured_at is None:
        share = int.from_bytes(hashlib.sha256(image.name.encode()).digest()[:4]) / 2**32
        if share < settings.stills_test:
            return "test"
        return "val" if share < settings.stills_test + settings.stills_val else "train"
    first, last = spans[image.camera]
    moment = image.captured_at.timestamp()
    borders = [
        first + (last - first) * (1 - settings.test - settings.val),
        first + (last - first) * (1 - settings.test),
    ]
    if any(border - settings.gap_s <= moment < border for border in borders):
        return None
    return "train" if moment < borders[0] else "val" if moment < borders[1] else "test"
