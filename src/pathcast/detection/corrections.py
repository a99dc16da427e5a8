"""What people made of a teacher's labels, as CVAT and Label Studio give it back (COCO JSON)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pathcast.core.boxes import intersection_over_union
from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages

_SAME_BOX_PX = 1.0
_SAME_OBJECT_IOU = 0.5
_PREFIX = re.compile(r"^[0-9a-f]{8}(-|__)")
"""Label Studio puts one before the name of a file that it has stored."""

_Pair = tuple[LabelledImage, LabelledImage]
"""An image as it came back, and as it is merged: with the given track numbers, -1 where a box has none."""


def corrected(given: LabelledImages, returned: LabelledImages) -> tuple[LabelledImages, dict[str, int]]:
    """`given` with the boxes of the images that came back, and how many boxes were kept, changed, added, removed.

    The set's `about` has the same counts as `corrected`, summed over all corrections.

    Images are matched by name or, where tools flatten folders, by its last part, with or without what Label Studio
    puts before it. A box that overlaps one of before keeps its track number; teacher's scores go. Tools number tracks
    anew: another box has the given number that most boxes of its returned track keep, or, where there is none or the
    image has it already, one above all given ones. Raises InvalidInputError for an image that was not given.
    """
    find = _finder(given)
    counts = dict.fromkeys(("images", "kept", "changed", "added", "removed"), 0)
    matched: dict[str, _Pair] = {}
    for image in returned:
        candidates = find(image.name)
        if len(candidates) != 1 or candidates[0].name in matched:
            raise InvalidInputError(
                f"{image.name}: expected the name of one image that was given, once, got {len(candidates)} of them"
            )
        before = candidates[0]
        if (image.width, image.height) != (before.width, before.height):
            raise InvalidInputError(
                f"{image.name}: expected {before.width}x{before.height} as given, got {image.width}x{image.height}"
            )
        matched[before.name] = image, _merged(before, image, counts)
        counts["images"] += 1
    last = max((int(image.track_ids.max(initial=0)) for image in given), default=0)
    new = {image.name: image for image in _numbered(list(matched.values()), last)}
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
    tracks = np.full(len(after), -1)
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


def _numbered(pairs: Sequence[_Pair], last: int) -> list[LabelledImage]:
    """The merged images; boxes that kept no number have one after their returned track, no number twice in an image.

    Of several returned tracks that kept boxes of one number, the one with most of them goes on with it.
    """
    votes: dict[tuple[str, int], Counter[int]] = {}
    for returned, merged in pairs:
        for theirs, ours in zip(returned.track_ids.tolist(), merged.track_ids.tolist(), strict=True):
            if theirs >= 0 and ours >= 0:
                votes.setdefault((merged.camera, theirs), Counter())[ours] += 1
    claims = [(count, track, number) for track, counts in votes.items() for number, count in counts.items()]
    numbers: dict[tuple[str, int], list[int]] = {}
    taken: set[tuple[str, int]] = set()
    for _, (camera, theirs), number in sorted(claims, key=lambda claim: -claim[0]):
        if (camera, theirs) not in numbers and (camera, number) not in taken:
            numbers[camera, theirs] = [number]
            taken.add((camera, number))
    images = []
    for returned, merged in pairs:
        tracks = np.array(merged.track_ids)
        for row in np.flatnonzero((tracks < 0) & (returned.track_ids >= 0)).tolist():
            own = numbers.setdefault((merged.camera, int(returned.track_ids[row])), [])
            if all(number in tracks for number in own):
                last += 1
                own.append(last)
            tracks[row] = next(number for number in own if number not in tracks)
        images.append(merged.changed(track_ids=tracks))
    return images
