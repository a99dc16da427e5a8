"""Which class is taken for which, what is missed, and what is seen where nothing is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathcast.core.arrays import Int64Array
from pathcast.core.boxes import intersection_over_union
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.average_precision import GroundTruth
from pathcast.detection.classes import CLASS_NAMES


def confusion(
    detections: Sequence[Detections], truth: Sequence[GroundTruth], *, score: float = 0.3, iou: float = 0.5
) -> Int64Array:
    """Counts (c + 1, c + 1): row the true class, or last nothing there; column the class found, or last missed.

    Detections of `score` and more are matched to true boxes of whatever class, best overlap first, from `iou` on.
    What lies on an ignored box is not counted.
    """
    if len(detections) != len(truth):
        raise InvalidInputError(f"images: expected detections for {len(truth)}, got {len(detections)}")
    count = len(CLASS_NAMES)
    table = np.zeros((count + 1, count + 1), np.int64)
    for found, true in zip(detections, truth, strict=True):
        kept = found.scores >= score
        boxes, classes = found.xyxy[kept].astype(np.float64), found.class_ids[kept]
        overlaps = intersection_over_union(true.xyxy, boxes)
        free_true, free_found = set(range(len(true.xyxy))), set(range(len(boxes)))
        for index in np.argsort(-overlaps, axis=None, kind="stable").tolist():
            row, column = divmod(index, len(boxes))
            if overlaps[row, column] < iou:
                break
            if row in free_true and column in free_found:
                free_true.discard(row)
                free_found.discard(column)
                if not true.ignored[row]:
                    table[true.class_ids[row], classes[column]] += 1
        for row in free_true:
            table[true.class_ids[row], count] += int(not true.ignored[row])
        on_ignored = overlaps[true.ignored].max(axis=0, initial=0.0) >= iou
        for column in free_found:
            table[count, classes[column]] += int(not on_ignored[column])
    return table
