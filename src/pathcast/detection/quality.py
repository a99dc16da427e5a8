"""What is wrong with a labelled set, file by file, and which frames are not worth learning from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.boxes import intersection_over_union
from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LISTED_TWICE, UNREADABLE, Fault, LabelledImage, LabelledImages

_SAME_BOX_IOU = 0.95


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Below which an image is not worth learning from, in grey levels of 0-255.

    `sharpness` is the variance of the Laplacian, `brightness` the mean, `change` the mean absolute difference from
    the last frame kept of the same camera.
    """

    sharpness: float = 15.0
    brightness: float = 12.0
    change: float = 0.8


def validate(labelled: LabelledImages, note: Callable[[str], None] = lambda name: None) -> list[Fault]:
    """Every fault of every file: unreadable images and labels, boxes empty or outside, the same box or image twice.

    `note` is told each name before its file is read.
    """
    names: set[str] = set()
    found = list(labelled.faults)
    for image in labelled:
        note(image.name)
        if image.name in names:
            found.append(Fault(image.name, LISTED_TWICE, "the set names this image more than once"))
        names.add(image.name)
        try:
            labelled.read(image)
        except InvalidInputError as error:
            found.append(Fault(image.name, UNREADABLE, error.message))
        found += box_faults(image)
    return found


def box_faults(image: LabelledImage) -> Iterator[Fault]:
    """What is wrong with the boxes of one image."""
    boxes = image.xyxy
    finite = np.isfinite(boxes).all(axis=1)
    empty = finite & (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    shown = np.minimum(boxes[:, 2:], [image.width, image.height]) - np.maximum(boxes[:, :2], 0)
    beyond = finite & ~empty & (shown <= 0).any(axis=1)
    over = np.maximum(-boxes[:, :2].min(axis=1, initial=0), (boxes[:, 2:] - [image.width, image.height]).max(axis=1))
    across = finite & ~empty & ~beyond & (over > 1.0)
    sorts = (
        (~finite, "not finite"),
        (empty, "empty box"),
        (beyond, "box outside the image"),
        (across, "box reaches over the image"),
    )
    for rows, kind in sorts:
        for row in np.flatnonzero(rows).tolist():
            yield Fault(image.name, kind, f"box {row}: {boxes[row].round(2).tolist()} in {image.width}x{image.height}")
    for row, other in _twins(image):
        yield Fault(image.name, "duplicate box", f"boxes {row} and {other}: {boxes[row].round(2).tolist()}")


def mended(image: LabelledImage) -> LabelledImage:
    """The image with its boxes clipped, without those that are empty, outside, not finite or there twice."""
    finite = np.isfinite(image.xyxy).all(axis=1)
    clipped = np.nan_to_num(image.xyxy).clip(0, [image.width, image.height, image.width, image.height])
    good = finite & (clipped[:, 2:] - clipped[:, :2] > 0).all(axis=1)
    for _, other in _twins(image):
        good[other] = False
    return image.changed(xyxy=clipped).chosen(good)


def unfit(labelled: LabelledImages, limits: QualityLimits | None = None) -> list[Fault]:
    """Images too blurred, too dark, or too like the last one kept of their camera, in the order of the set."""
    bounds = limits or QualityLimits()
    last: dict[str, Float32Array] = {}
    found = []
    for image in labelled:
        grey = np.asarray(cv2.cvtColor(labelled.read(image), cv2.COLOR_RGB2GRAY), np.uint8)
        sharpness, brightness = float(cv2.Laplacian(grey, cv2.CV_32F).var()), float(grey.mean())
        small = _thumbnail(grey)
        change = float(np.abs(small - last[image.camera]).mean()) if image.camera in last else np.inf
        if sharpness < bounds.sharpness:
            found.append(Fault(image.name, "blurred", f"sharpness {sharpness:.1f}, expected {bounds.sharpness:g}"))
        elif brightness < bounds.brightness:
            found.append(Fault(image.name, "dark", f"brightness {brightness:.1f}, expected {bounds.brightness:g}"))
        elif image.captured_at is not None and change < bounds.change:
            found.append(Fault(image.name, "near-duplicate", f"change {change:.2f}, expected {bounds.change:g}"))
        else:
            last[image.camera] = small
    return found


def _thumbnail(grey: UInt8Array) -> Float32Array:
    return np.asarray(cv2.resize(grey, (96, 72), interpolation=cv2.INTER_AREA), np.float32)


def _twins(image: LabelledImage) -> Iterator[tuple[int, int]]:
    """Pairs of rows of one class that are practically one box, the first with a smaller index."""
    same = intersection_over_union(image.xyxy, image.xyxy) > _SAME_BOX_IOU
    same &= image.class_ids[:, None] == image.class_ids[None]
    yield from zip(*(rows.tolist() for rows in np.nonzero(np.triu(same, 1))), strict=True)
