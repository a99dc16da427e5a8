import contextlib
import io

import numpy as np
import pytest

from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.average_precision import GroundTruth, average_precision, person_ap50, sequence_truth


class Boxes:
    """Three frames: one person, one person not to be scored, nobody."""

    frames = np.array([1, 2])
    xyxy = np.array([[0.0, 0, 10, 20], [5, 5, 15, 25]])
    confidences = np.array([1.0, 0.0])
    classes = np.array([1, 7])


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


def random_scene(seed: int, images: int = 12) -> tuple[list[Detections], list[GroundTruth]]:
    random = np.random.default_rng(seed)
    detections, truth = [], []
    for _ in range(images):
        count = int(random.integers(1, 8))
        corners = random.uniform(0, 300, (count, 2))
        boxes = np.hstack([corners, corners + random.uniform(10, 120, (count, 2))])
        classes = random.integers(0, 6, count)
        truth.append(GroundTruth(boxes, classes, random.random(count) < 0.15))
        moved = (boxes + random.normal(0, 6, boxes.shape)).repeat(2, axis=0)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        labels = np.where(random.random(2 * count) < 0.8, classes.repeat(2), 0)
        detections.append(Detections(moved, random.random(2 * count), labels))
    return detections, truth


def test_the_truth_itself_scores_one() -> None:
    _, truth = random_scene(1)
    perfect = [Detections(image.xyxy, np.ones(len(image.xyxy)), image.class_ids) for image in truth]
    scores = average_precision(perfect, truth)
    assert scores.map50 == pytest.approx(1)
    # A box in float32 keeps an IoU above 0.95 with itself in float64.
    assert scores.map50_95 == pytest.approx(1)


def test_nothing_found_scores_zero() -> None:
    truth = [GroundTruth([[0, 0, 9, 9]], [0])]
    assert average_precision([Detections.empty()], truth).map50 == 0


def test_only_classes_of_the_truth_count() -> None:
    truth = [GroundTruth([[0, 0, 9, 9]], [2])]
    scores = average_precision([found((0, 0, 9, 9, 0.5, 2), (50, 50, 60, 60, 0.9, 0))], truth)
    assert list(scores.classes) == ["car"]
    assert scores.map50 == pytest.approx(1)


@pytest.mark.parametrize(
    ("false_alarm_score", "expected"), [(0.4, 1.0), (0.6, 0.5)], ids=["weaker false alarm", "stronger false alarm"]
)
def test_false_alarms_count_by_their_rank(false_alarm_score: float, expected: float) -> None:
    truth = [GroundTruth([[0, 0, 10, 10]], [0])]
    scores = average_precision([found((0, 0, 10, 10, 0.5, 0), (80, 80, 90, 90, false_alarm_score, 0))], truth)
    assert scores.classes["person"].ap50 == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_pycocotools(seed: int) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    detections, truth = random_scene(seed)
    scores = average_precision(detections, truth)
    reference = COCO()
    annotations = [
        {
            "image_id": number,
            "category_id": int(class_id) + 1,
            "bbox": [*box[:2], *(box[2:] - box[:2])],
            "ignored": flag,
        }
        for number, image in enumerate(truth, start=1)
        for box, class_id, flag in zip(image.xyxy, image.class_ids, image.ignored, strict=True)
    ]
    reference.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(1, len(truth) + 1)],
        "categories": [{"id": number} for number in range(1, 7)],
        "annotations": [
            {**item, "id": number, "area": item["bbox"][2] * item["bbox"][3], "iscrowd": int(item.pop("ignored"))}
            for number, item in enumerate(annotations, start=1)
        ],
    }
    results = [
        {
            "image_id": number,
            "category_id": int(class_id) + 1,
            "bbox": [float(value) for value in (*box[:2], *(box[2:] - box[:2]))],
            "score": float(score),
        }
        for number, image in enumerate(detections, start=1)
        for box, score, class_id in zip(image.xyxy, image.scores, image.class_ids, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        reference.createIndex()
        run = COCOeval(reference, reference.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    assert scores.map50_95 == pytest.approx(run.stats[0], abs=1e-9)
    assert scores.map50 == pytest.approx(run.stats[1], abs=1e-9)


def test_persons_of_a_sequence() -> None:
    truth = sequence_truth(Boxes(), 3)
    assert [len(image.xyxy) for image in truth] == [1, 1, 0]
    # Frame 2 finds the box that is not scored, so only frame 3's false alarm counts against it.
    hits = [found((0, 0, 10, 20, 0.5, 0)), found((5, 5, 15, 25, 0.9, 0)), found((1, 1, 9, 9, 0.4, 0))]
    assert person_ap50(hits, Boxes()) == pytest.approx(1)
    assert person_ap50([hits[1], hits[0], hits[2]], Boxes()) < 0.5


def test_objects_of_a_sequence_have_their_classes() -> None:
    boxes = Boxes()
    boxes.classes = np.array([3, 9])
    first, second, _ = sequence_truth(boxes, 3)
    assert first.class_ids.tolist() == [2]
    assert len(second.xyxy) == 0


def test_wrong_use_is_named() -> None:
    with pytest.raises(InvalidInputError, match="expected detections for 1, got 0"):
        average_precision([], [GroundTruth([[0, 0, 1, 1]], [0])])
    with pytest.raises(InvalidInputError, match="at least one box"):
        average_precision([Detections.empty()], [GroundTruth([], [])])
