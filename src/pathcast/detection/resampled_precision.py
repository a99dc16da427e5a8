"""AP50 of any choice of images, repeats allowed, from one matching: what a bootstrap over images asks for.

COCO matches boxes image by image, so an image's hits and false alarms are the same in every choice. They are found
once and kept by falling score; a choice only says how often each image's records count. By the rules of
`average_precision`, which counts every choice anew, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.average_precision import GroundTruth

MOST = 100
"""Detections that count of an image and class."""

_IOU = 0.5
_RECALLS = np.linspace(0.0, 1.0, 101)
_TINY = np.spacing(1)


@dataclass(frozen=True, slots=True, eq=False)
class _Records:
    """One class: (r,) image and hit or false alarm by falling score, and (images,) the boxes to find."""

    images: Int64Array
    hits: npt.NDArray[np.bool_]
    wanted: Int64Array

    def average_precision(self, counts: Int64Array) -> float | None:
        """With image i there `counts[i]` times; None where nothing of this class is to be found."""
        wanted = int(self.wanted @ counts)
        if wanted == 0:
            return None
        weights = counts[self.images]
        hits = np.cumsum(weights * self.hits)
        precision = hits / (np.cumsum(weights) + _TINY)
        # The best precision at this recall or any higher one.
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return float(envelope[np.searchsorted(hits / wanted, _RECALLS, side="left")].mean())


class ResampledPrecision:
    """What was found on a set of images, ready to be scored on any choice of them."""

    def __init__(self, detections: Sequence[Detections], truth: Sequence[GroundTruth]) -> None:
        if len(detections) != len(truth):
            raise InvalidInputError(f"images: expected detections for {len(truth)}, got {len(detections)}")
        self._length = len(truth)
        present = sorted({int(class_id) for image in truth for class_id in image.class_ids[~image.ignored]})
        self._classes = [_records(detections, truth, class_id) for class_id in present]

    def map50(self, samples: Int64Array) -> float:
        """AP50, averaged over the classes with a box in the chosen images (indices); 0 where there is none."""
        counts = np.bincount(samples, minlength=self._length)
        found = [records.average_precision(counts) for records in self._classes]
        scores = [score for score in found if score is not None]
        return float(np.mean(scores)) if scores else 0.0


def _records(detections: Sequence[Detections], truth: Sequence[GroundTruth], class_id: int) -> _Records:
    images, hits, scores = [], [], []
    wanted = np.zeros(len(truth), np.int64)
    for number, (found, true) in enumerate(zip(detections, truth, strict=True)):
        own = true.class_ids == class_id
        wanted[number] = (own & ~true.ignored).sum()
        rows = np.flatnonzero(found.class_ids == class_id)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")][:MOST]
        hit, counted = _matched(found.xyxy[rows].astype(np.float64), true.xyxy[own], true.ignored[own])
        images.append(np.full(int(counted.sum()), number))
        hits.append(hit[counted])
        scores.append(found.scores[rows][counted])
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return _Records(np.concatenate(images)[order], np.concatenate(hits)[order], wanted)


def _matched(
    boxes: Float64Array, true: Float64Array, ignored: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which boxes, best first, hit a true one of their own, and which count: one on an ignored box does not.

    Each takes the true box of the most overlap that is free, an ignored one where there is no other; those are
    never used up, and overlap is the share of the found box (COCO's crowds).
    """
    hits, counted = np.zeros(len(boxes), np.bool_), np.ones(len(boxes), np.bool_)
    overlaps = _overlaps(boxes, true, ignored)
    free = ~ignored
    for row in range(len(boxes)):
        for kind in (free, ignored):
            open_to_it = np.where(kind, overlaps[row], -1.0)
            # The last of equals, as COCO's loop leaves it.
            best = len(true) - 1 - int(open_to_it[::-1].argmax()) if len(true) else -1
            if best >= 0 and open_to_it[best] >= _IOU:
                hits[row], counted[row] = not ignored[best], not ignored[best]
                free[best] = False
                break
    return hits, counted


def _overlaps(boxes: Float64Array, true: Float64Array, ignored: npt.NDArray[np.bool_]) -> Float64Array:
    low = np.maximum(boxes[:, None, :2], true[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], true[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas, true_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, true))
    union = areas[:, None] + np.where(ignored, 0.0, true_areas - shared)
    return np.asarray(shared / np.maximum(union, 1e-12), np.float64)
