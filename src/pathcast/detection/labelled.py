"""Images with boxes: the one form that every label format is read into and written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array, UInt8Array, frozen_array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import read_image
from pathcast.detection.average_precision import GroundTruth
from pathcast.detection.classes import CLASS_NAMES

UNREADABLE, BAD_LABELS, UNREADABLE_SET = "unreadable", "unreadable labels", "unreadable set"
LISTED_TWICE = "listed twice"
_LISTED = 10
"""So many classes, the most frequent, are named where many are left out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the name of the image, or of the file where it is of none, the kind and what was found.

    `hint` is the next step, where there is one.
    """

    name: str
    kind: str
    detail: str
    hint: str | None = None

    def error(self) -> InvalidInputError:
        """The fault as what stops whoever does not collect faults."""
        return InvalidInputError(f"{self.name}: {self.kind}: {self.detail}", hint=self.hint)


OnFault = Callable[[Fault], None]
"""What a reader of labels does with a fault. If it comes back, the reader goes on with what is left."""


def refuse(fault: Fault) -> None:
    """Stop at the first fault, for whoever does not collect them: raises InvalidInputError."""
    raise fault.error()


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image and what is on it.

    `name` is the file's path below the set's image folder. `xyxy` (n, 4) in pixels of the image as stored, not
    clipped to it; `class_ids` (n,) of the platform's classes; `ignored` (n,) marks boxes that count neither way;
    `track_ids` (n,) numbers objects across images, -1 where unknown; `scores` (n,) are a teacher's, NaN for boxes
    that people drew or confirmed. `camera` and `captured_at` are empty where nobody knows.
    """

    name: str
    width: int
    height: int
    xyxy: Float64Array
    class_ids: Int64Array
    ignored: npt.NDArray[np.bool_]
    track_ids: Int64Array
    scores: Float64Array
    camera: str = ""
    captured_at: datetime | None = None

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        xyxy: npt.ArrayLike = (),
        class_ids: npt.ArrayLike = (),
        *,
        ignored: npt.ArrayLike | None = None,
        track_ids: npt.ArrayLike | None = None,
        scores: npt.ArrayLike | None = None,
        camera: str = "",
        captured_at: datetime | None = None,
    ) -> None:
        boxes = frozen_array("xyxy", xyxy, np.float64, (None, 4))
        count = len(boxes)
        columns = {
            "class_ids": (class_ids, np.int64),
            "ignored": (np.zeros(count) if ignored is None else ignored, np.bool_),
            "track_ids": (np.full(count, -1) if track_ids is None else track_ids, np.int64),
            "scores": (np.full(count, np.nan) if scores is None else scores, np.float64),
        }
        if width < 1 or height < 1:
            raise InvalidInputError(f"{name}: expected a size in pixels, got {width}x{height}")
        if captured_at is not None and captured_at.tzinfo is None:
            raise InvalidInputError(f"{name}: captured_at: expected a time zone, got {captured_at}")
        object.__setattr__(self, "xyxy", boxes)
        for key, (values, kind) in columns.items():
            object.__setattr__(self, key, frozen_array(key, values, kind, (count,)))
        for key, value in (("name", name), ("width", width), ("height", height), ("camera", camera)):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "captured_at", captured_at)
        if count and not (0 <= self.class_ids.min() and self.class_ids.max() < len(CLASS_NAMES)):
            raise InvalidInputError(f"{name}: expected class ids of 0 to {len(CLASS_NAMES) - 1}, got {self.class_ids}")

    def __len__(self) -> int:
        return len(self.xyxy)

    def changed(self, **values: Any) -> LabelledImage:
        """The same image with other values of some fields."""
        merged = {name: getattr(self, name) for name in self.__slots__} | values
        positional = [merged.pop(name) for name in ("name", "width", "height", "xyxy", "class_ids")]
        return LabelledImage(*positional, **merged)

    def chosen(self, rows: npt.ArrayLike) -> LabelledImage:
        """The same image with only those boxes (a mask or indices)."""
        picked = np.asarray(rows)
        columns = ("xyxy", "class_ids", "ignored", "track_ids", "scores")
        return self.changed(**{name: getattr(self, name)[picked] for name in columns})

    def truth(self) -> GroundTruth:
        """The boxes as what a detector is scored against."""
        return GroundTruth(self.xyxy, self.class_ids, self.ignored)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """A set of images below one folder, and what its labels' reader found wrong, if it was to go on.

    `about`, plain values for a data card, says where the labels are from: `teacher` and `labelling` (its settings),
    `corrected` (counts of what people did to the teacher's boxes), `class_names` (the file that says which class a
    number is), `other_classes` (boxes left out, by the name of a class that the detector does not have). Keys are
    absent where nothing is known.
    """

    root: Path
    images: tuple[LabelledImage, ...] = field(default=())
    faults: tuple[Fault, ...] = field(default=())
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)

    def read(self, image: LabelledImage) -> UInt8Array:
        """The pixels (h, w, 3) RGB; InvalidInputError where the file is unreadable or of another size."""
        path = self.root / image.name
        pixels = read_image(path)
        if pixels is None:
            raise InvalidInputError(f"{path}: not a readable image")
        if pixels.shape[:2] != (image.height, image.width):
            raise InvalidInputError(
                f"{path}: expected {image.width}x{image.height} as labelled, got {pixels.shape[1]}x{pixels.shape[0]}"
            )
        return np.asarray(pixels, np.uint8)

    def where(self, wanted: Callable[[LabelledImage], bool]) -> LabelledImages:
        """The images for which `wanted` holds, in order."""
        return replace(self, images=tuple(image for image in self.images if wanted(image)))

    def boxes_by_class(self) -> dict[str, int]:
        """How many boxes that count each class has."""
        ids = np.concatenate([image.class_ids[~image.ignored] for image in self.images] or [np.zeros(0, np.int64)])
        return {name: int((ids == index).sum()) for index, name in enumerate(CLASS_NAMES) if (ids == index).any()}


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels; InvalidInputError where the file is no image."""
    pixels = read_image(path, cv2.IMREAD_COLOR_BGR)
    if pixels is None:
        raise InvalidInputError(f"{path}: not a readable image")
    return int(pixels.shape[1]), int(pixels.shape[0])


def other_classes(counts: Mapping[str, int]) -> Mapping[str, Any]:
    """Boxes that were left out, by the name of their class, for `LabelledImages.about`, where there are any."""
    return {"other_classes": dict(counts)} if counts else {}


def said_of_other_classes(about: Mapping[str, Any]) -> str:
    """What a set's `about` has to say of boxes that were left out for their class; empty where there are none."""
    counts = Counter(about.get("other_classes", {}))
    listed = ", ".join(f"{count} {name}" for name, count in counts.most_common(_LISTED))
    return f"{counts.total()} boxes of classes that the detector does not have: {listed}" if counts else ""


def tell_other_classes(source: Path, about: Mapping[str, Any], boxes: int, note: Callable[[str], None]) -> None:
    """Tell `note` which boxes of `source` were left out for their class; so many `boxes` are left.

    Raises InvalidInputError where there are none but those: the set calls the platform's classes otherwise, or is of
    no use.
    """
    others = said_of_other_classes(about)
    if others and not boxes:
        raise InvalidInputError(
            f"{source}: expected boxes of {', '.join(CLASS_NAMES)}, got {others}",
            hint='--classes \'{"pedestrian": "person"}\', in a training --option \'classes={"pedestrian": "person"}\', '
            f"says which of its own they are; a training leaves the set out by --option without={source.stem}",
        )
    if others:
        note(f"{source}: {others}")


def one_file_each(targets: Mapping[str, Path], kind: str = "a label file") -> None:
    """Raise InvalidInputError where two images, by name, would have the same file of some kind."""
    owners: dict[Path, str] = {}
    for name, target in targets.items():
        other = owners.setdefault(target, name)
        if other != name:
            raise InvalidInputError(
                f"{name}: expected {kind} of its own, {target.name} is that of {other}",
                hint="rename one of the two images",
            )


def with_own_identities(sets: Sequence[LabelledImages]) -> list[LabelledImages]:
    """The same sets, the objects numbered from 1 through all of them: every recording counts from 1 by itself."""
    numbers: dict[tuple[int, str, int], int] = {}

    def renumbered(index: int, image: LabelledImage) -> list[int]:
        keys = [(index, image.camera, identity) for identity in image.track_ids.tolist()]
        return [-1 if key[2] < 0 else numbers.setdefault(key, len(numbers) + 1) for key in keys]

    return [
        replace(labelled, images=tuple(image.changed(track_ids=renumbered(index, image)) for image in labelled))
        for index, labelled in enumerate(sets)
    ]
