"""What people made of a teacher's labels, as CVAT and Label Studio give it back (COCO JSON)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pathcast.core.boxes import intersection_over_union
from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages

_SAME_BOX_PX = 1.0
_SAME_OBJECT_IOU = 0.5
_PREFIX = re.compile(r"^[0-9a-f]{8}(-|__)")
"""Label Studio puts one before the name of a file that it has stored."""


def corrected(given: LabelledImages, returned: LabelledImages) -> tuple[LabelledImages, dict[str, int]]:
    """`given` with the boxes of the images that came back, and how many boxes were kept, changed, added, removed.

    The set's `about` has the same counts as `corrected`, summed over all corrections.

    Images are matched by name or, where tools flatten folders, by its last part, with or without what Label Studio
    puts before it. A box that overlaps one of before keeps its track number; teacher's scores go. Raises
    InvalidInputError for an image that was not given.
    """
    find = _finder(given)
    counts = dict.fromkeys(("images", "kept", "changed", "added", "removed"), 0)
    new: dict[str, LabelledImage] = {}
    for image in returned:
        candidates = find(image.name)
        if len(candidates) != 1 or candidates[0].name in new:
            raise InvalidInputError(
                f"{image.name}: expected the name of one image that was given, once, got {len(candidates)} of them"
            )
        before = candidates[0]
        if (image.width, image.height) != (before.width, before.height):
            raise InvalidInputError(
                f"{image.name}: expected {before.width}x{before.height} as given, got {image.width}x{image.height}"
            )
        new[before.name] = _merged(before, image, counts)
        counts["images"] += 1
    before = given.about.get("corrected", {})
    about = {**given.about, "corrected": {name: before.get(name, 0) + count for name, count in counts.items()}}
    return LabelledImages(given.root, tuple(new.get(image.name, image) for image in given), about=about), counts


def known(given: LabelledImages, returned: LabelledImages) -> LabelledImages:
    """Those of the `returned` images that are among the `given` ones."""
    find = _finder(given)
    return returned.where(lambda image: bool(find(image.name)))


def _finder(given: LabelledImages) -> Callable[[str], list[LabelledImage]]:
    """By a name as a tool gives it back: the images that it may be."""
    by_name = {image.name: image for image in given}
    by_last: dict[str, list[LabelledImage]] = {}
    for image in given:
        by_last.setdefault(Path(image.name).name, []).append(image)

    def find(name: str) -> list[LabelledImage]:
        if name in by_name:
            return [by_name[name]]
        last = Path(name).name
        return by_last.get(last) or by_last.get(_PREFIX.sub("", last), [])

    return find


def _merged(before: LabelledImage, after: LabelledImage, counts: dict[str, int]) -> LabelledImage:
    free = set(range(len(before)))
    tracks = np.array(after.track_ids)
    for row in range(len(after)):
        overlaps = intersection_over_union(after.xyxy[row : row + 1], before.xyxy)[0]
        best = max(free, key=lambda index: overlaps[index], default=None)
        if best is None or overlaps[best] < _SAME_OBJECT_IOU:
            counts["added"] += 1
            continue
        free.discard(best)
        same_place = np.abs(after.xyxy[row] - before.xyxy[best]).max() <= _SAME_BOX_PX
        same = (
            same_place and after.class_ids[row] == before.class_ids[best] and after.ignored[row] == before.ignored[best]
        )
        counts["kept" if same else "changed"] += 1
        tracks[row] = before.track_ids[best]
    counts["removed"] += len(free)
    return before.changed(
        xyxy=after.xyxy,
        class_ids=after.class_ids,
        ignored=after.ignored,
        track_ids=tracks,
        scores=np.full(len(after), np.nan),
    )
