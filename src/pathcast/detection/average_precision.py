"""Average precision of detections, by COCO's rules (faster-coco-eval, checked against pycocotools).

101-point interpolation, at most 100 detections per image and class, boxes matched greedily by score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array, frozen_array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, PERSON
from pathcast.detection.mot_classes import OTHER, ObjectClasses, mot16_classes

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class GroundTruth:
    """The true boxes of one image: `xyxy` (n, 4) pixels, `class_ids` (n,), `ignored` (n,).

    A detection on an ignored box counts neither for nor against the detector.
    """

    xyxy: Float64Array
    class_ids: Int64Array
    ignored: BoolArray

    def __init__(self, xyxy: npt.ArrayLike, class_ids: npt.ArrayLike, ignored: npt.ArrayLike | None = None) -> None:
        boxes = frozen_array("xyxy", xyxy, np.float64, (None, 4))
        object.__setattr__(self, "xyxy", boxes)
        object.__setattr__(self, "class_ids", frozen_array("class_ids", class_ids, np.int64, (len(boxes),)))
        flags = np.zeros(len(boxes)) if ignored is None else ignored
        object.__setattr__(self, "ignored", frozen_array("ignored", flags, np.bool_, (len(boxes),)))


@dataclass(frozen=True, slots=True)
class ClassPrecision:
    """Fractions: average precision at an IoU of 0.50, and averaged over 0.50, 0.55, …, 0.95."""

    ap50: float
    ap50_95: float


@dataclass(frozen=True, slots=True)
class DetectorScores:
    """By class name, for the classes that the ground truth has; the means are over those classes."""

    classes: Mapping[str, ClassPrecision]
    map50: float
    map50_95: float


class SequenceBoxes(Protocol):
    """The boxes of a sequence as MOT files have them.

    Frames count from 1, confidence 0 marks a box not scored, classes are MOT16's numbers.
    """

    @property
    def frames(self) -> Int64Array: ...

    @property
    def xyxy(self) -> Float64Array: ...

    @property
    def confidences(self) -> Float64Array: ...

    @property
    def classes(self) -> Int64Array: ...


def average_precision(
    detections: Sequence[Detections], truth: Sequence[GroundTruth], class_names: Sequence[str] = CLASS_NAMES
) -> DetectorScores:
    """Score `detections`, one item per image in the order of `truth`.

    Raises InvalidInputError where the lengths differ or the ground truth has no box to find.
    """
    if len(detections) != len(truth):
        raise InvalidInputError(f"images: expected detections for {len(truth)}, got {len(detections)}")
    present = sorted({int(class_id) for image in truth for class_id in image.class_ids[~image.ignored]})
    if not present:
        raise InvalidInputError("ground truth: expected at least one box that counts, got none")
    precision = _precision_by_class(detections, truth, present)
    classes = {class_names[class_id]: precision[class_id] for class_id in present}
    return DetectorScores(
        classes,
        float(np.mean([score.ap50 for score in classes.values()])),
        float(np.mean([score.ap50_95 for score in classes.values()])),
    )


def person_ap50(persons: Sequence[Detections], truth: SequenceBoxes) -> float:
    """AP50 of the persons of a sequence's frames, as a fraction; other classes must be left out of `persons`."""
    scores = average_precision(persons, sequence_truth(truth, len(persons)))
    return scores.classes[CLASS_NAMES[PERSON]].ap50


def sequence_truth(boxes: SequenceBoxes, length: int, classes: ObjectClasses | None = None) -> list[GroundTruth]:
    """The objects of frames 1 … `length`, one GroundTruth each; boxes of confidence 0 are ignored ones.

    `classes` are the boxes', by MOT16's numbers where they are not given.
    """
    named = classes or mot16_classes(boxes.classes)
    class_ids, ignored = named.class_ids, named.like_people | (boxes.confidences == 0)
    truth = []
    for frame in range(1, length + 1):
        rows = (boxes.frames == frame) & (class_ids != OTHER)
        truth.append(GroundTruth(boxes.xyxy[rows], class_ids[rows], ignored[rows]))
    return truth


def precision_at_recall(
    detections: Sequence[Detections], truth: Sequence[GroundTruth], class_names: Sequence[str] = CLASS_NAMES
) -> dict[str, Float64Array]:
    """By class that the truth has: the precision (101,) at recalls 0, 0.01, …, 1 and an IoU of 0.50."""
    present = sorted({int(class_id) for image in truth for class_id in image.class_ids[~image.ignored]})
    if not present:
        return {}
    table = _precision_table(detections, truth, present)
    return {class_names[class_id]: table[0, :, column] for column, class_id in enumerate(present)}


def _precision_by_class(
    detections: Sequence[Detections], truth: Sequence[GroundTruth], class_ids: Sequence[int]
) -> dict[int, ClassPrecision]:
    table = _precision_table(detections, truth, class_ids)
    return {
        class_id: ClassPrecision(float(table[0, :, column].mean()), float(table[:, :, column].mean()))
        for column, class_id in enumerate(class_ids)
    }


def _precision_table(
    detections: Sequence[Detections], truth: Sequence[GroundTruth], class_ids: Sequence[int]
) -> Float64Array:
    """Precision (IoU, recall, class) over boxes of all areas, at most 100 detections an image."""
    from faster_coco_eval import COCO, COCOeval_faster

    reference = COCO(
        {
            "info": {},
            "images": [{"id": index} for index in range(1, len(truth) + 1)],
            "categories": [{"id": class_id + 1, "name": str(class_id)} for class_id in class_ids],
            "annotations": list(_annotations(truth)),
        }
    )
    # An empty list is refused; one detection of no score on no object changes no precision.
    found = list(_results(detections, set(class_ids))) or [_result(1, class_ids[0], [0.0, 0.0, 0.0, 0.0], 0.0)]
    run = COCOeval_faster(reference, reference.loadRes(found), "bbox")
    run.evaluate()
    run.accumulate()
    # (IoU, recall, class, area, detections): all areas, 100 detections.
    table: Float64Array = run.eval["precision"][:, :, :, 0, -1]
    return table


def _annotations(truth: Sequence[GroundTruth]) -> Iterable[dict[str, Any]]:
    number = 0
    for image_id, image in enumerate(truth, start=1):
        corner_and_size = np.hstack([image.xyxy[:, :2], image.xyxy[:, 2:] - image.xyxy[:, :2]])
        for box, class_id, ignored in zip(corner_and_size.tolist(), image.class_ids, image.ignored, strict=True):
            number += 1
            yield {
                "id": number,
                "image_id": image_id,
                "category_id": int(class_id) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": int(ignored),
            }


def _results(detections: Sequence[Detections], class_ids: set[int]) -> Iterable[dict[str, Any]]:
    for image_id, image in enumerate(detections, start=1):
        corner_and_size = np.hstack([image.xyxy[:, :2], image.xyxy[:, 2:] - image.xyxy[:, :2]]).astype(np.float64)
        for box, score, class_id in zip(corner_and_size.tolist(), image.scores, image.class_ids, strict=True):
            if int(class_id) in class_ids:
                yield _result(image_id, int(class_id), box, float(score))


def _result(image_id: int, class_id: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": class_id + 1, "bbox": box, "score": score}
