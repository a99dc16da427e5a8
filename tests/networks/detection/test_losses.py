from __future__ import annotations

import keras
import numpy as np
import pytest

from pathcast.detection.assignment import assign, iou
from pathcast.detection.grid import grid
from pathcast.detection.looks import PARTS
from pathcast.detection.losses import detection_loss, identity_loss
from pathcast.detection.samples import IGNORED, PADDING

HEIGHT, WIDTH = 64, 96
CORNERS, STRIDES = grid(HEIGHT, WIDTH)
CELLS = len(STRIDES)


def outputs(boxes: np.ndarray, sure: float = -6.0) -> dict[str, np.ndarray]:
    """The same box predicted by all cells, which are all about sure that nothing is there."""
    # Cells of exactly the same cost would be taken all together.
    doubts = np.linspace(0, 0.01, CELLS, dtype=np.float32)[None]
    spread = np.broadcast_to(np.asarray(boxes, np.float32), (1, CELLS, 4))
    return {
        "boxes": np.array(spread),
        "objectness": sure + doubts,
        "classes": np.full((1, CELLS, 6), -4.0, np.float32),
    }


def targets(boxes: list[list[float]], classes: list[int], room: int = 4) -> tuple[np.ndarray, np.ndarray]:
    true_boxes, true_classes = np.zeros((1, room, 4), np.float32), np.full((1, room), PADDING, np.int32)
    true_boxes[0, : len(boxes)] = np.array(boxes, np.float32).reshape(-1, 4)
    true_classes[0, : len(classes)] = classes
    return true_boxes, true_classes


def assigned(predicted: dict[str, np.ndarray], boxes: list[list[float]], classes: list[int]) -> tuple[np.ndarray, ...]:
    true_boxes, true_classes = targets(boxes, classes)
    present = (true_classes >= 0).astype(np.float32)
    one_hot = np.eye(6, dtype=np.float32)[np.maximum(true_classes, 0)] * present[..., None]
    found = assign(
        predicted["boxes"],
        predicted["objectness"],
        predicted["classes"],
        true_boxes,
        one_hot,
        present,
        CORNERS,
        STRIDES,
    )
    return tuple(np.asarray(each)[0] for each in (found.taken, found.objects, found.overlaps))


def test_overlaps_of_pairs() -> None:
    boxes = np.array([[[0, 0, 4, 4], [2, 2, 6, 6], [9, 9, 9, 9]]], np.float32)
    expected = [[1, 4 / 28, 0], [4 / 28, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.asarray(iou(boxes[:, :, None], boxes[:, None]))[0], expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(iou(boxes, boxes))[0], [1, 1, 0], atol=1e-6)


def test_an_object_is_learned_by_cells_in_or_near_it() -> None:
    taken, objects, _ = assigned(outputs([20, 16, 44, 48]), [[20, 16, 44, 48]], [2])
    centres = (CORNERS + 0.5) * STRIDES[:, None]
    chosen = centres[taken > 0]
    assert 1 <= len(chosen) <= 10
    assert (objects[taken > 0] == 0).all()
    assert (np.abs(chosen - [32, 32]) < 2.5 * STRIDES[taken > 0][:, None] + [12, 16]).all()


def test_a_better_predicted_object_takes_more_cells() -> None:
    good = assigned(outputs([20, 16, 44, 48]), [[20, 16, 44, 48]], [0])[0].sum()
    bad = assigned(outputs([20, 16, 26, 22]), [[20, 16, 44, 48]], [0])[0].sum()
    assert good == 10
    assert bad == 1


def test_two_objects_share_no_cell_and_padding_takes_none() -> None:
    taken, objects, overlaps = assigned(outputs([8, 8, 40, 40]), [[8, 8, 40, 40], [12, 12, 44, 44]], [0, 1])
    assert set(objects[taken > 0].tolist()) == {0, 1}
    assert (overlaps[taken == 0] == 0).all()
    assert assigned(outputs([8, 8, 40, 40]), [], [])[0].sum() == 0


def test_the_assignment_agrees_with_one_cell_and_one_object_at_a_time() -> None:
    random = np.random.default_rng(2)
    corner = random.uniform(0, 50, (1, CELLS, 2))
    predicted = {
        "boxes": np.concatenate([corner, corner + random.uniform(5, 40, (1, CELLS, 2))], axis=2).astype(np.float32),
        "objectness": random.normal(size=(1, CELLS)).astype(np.float32),
        "classes": random.normal(size=(1, CELLS, 6)).astype(np.float32),
    }
    boxes, classes = [[4, 6, 40, 50], [30, 10, 90, 60], [50, 40, 62, 60]], [0, 2, 5]
    taken, objects, _ = assigned(predicted, boxes, classes)
    expected = _by_loops(predicted, boxes, classes)
    assert {cell: int(objects[cell]) for cell in np.flatnonzero(taken)} == expected


def _by_loops(predicted: dict[str, np.ndarray], boxes: list[list[float]], classes: list[int]) -> dict[int, int]:
    """SimOTA as the paper tells it, slowly."""
    probability = 1 / (1 + np.exp(-predicted["classes"][0])) / (1 + np.exp(-predicted["objectness"][0]))[:, None]
    costs = np.full((CELLS, len(boxes)), np.inf)
    overlaps = np.zeros((CELLS, len(boxes)))
    inside, near = np.zeros_like(costs, bool), np.zeros_like(costs, bool)
    for cell in range(CELLS):
        x, y = (CORNERS[cell] + 0.5) * STRIDES[cell]
        for index, (x1, y1, x2, y2) in enumerate(boxes):
            inside[cell, index] = x1 < x < x2 and y1 < y < y2
            near[cell, index] = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 2.5 * STRIDES[cell]
    for cell in np.flatnonzero((inside | near).any(axis=1)):
        a = predicted["boxes"][0, cell]
        for index, (box, class_id) in enumerate(zip(boxes, classes, strict=True)):
            width = min(a[2], box[2]) - max(a[0], box[0])
            height = min(a[3], box[3]) - max(a[1], box[1])
            shared = max(width, 0) * max(height, 0)
            iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (box[2] - box[0]) * (box[3] - box[1]) - shared)
            score = np.sqrt(probability[cell])
            entropy = -sum(np.log(score[c]) if c == class_id else np.log(1 - score[c]) for c in range(6))
            both = inside[cell, index] and near[cell, index]
            costs[cell, index] = entropy - 3 * np.log(iou + 1e-8) + 1e5 * (not both)
            overlaps[cell, index] = iou
    wanted: dict[int, list[int]] = {}
    for index in range(len(boxes)):
        count = max(int(np.sort(overlaps[:, index])[-10:].sum()), 1)
        for cell in np.argsort(costs[:, index], kind="stable")[:count]:
            wanted.setdefault(int(cell), []).append(index)
    return {cell: min(indices, key=lambda index: costs[cell, index]) for cell, indices in wanted.items()}


def loss_of(predicted: dict[str, np.ndarray], boxes: list[list[float]], classes: list[int]) -> float:
    return float(detection_loss(predicted, *targets(boxes, classes), CORNERS, STRIDES))


def test_the_truth_costs_next_to_nothing() -> None:
    predicted = outputs([20, 16, 44, 48], sure=-12.0)
    taken = assigned(predicted, [[20, 16, 44, 48]], [2])[0]
    predicted["objectness"][0] = np.where(taken > 0, 12.0, -12.0)
    predicted["classes"][0] = np.where(np.arange(6) == 2, 12.0, -12.0)
    assert loss_of(predicted, [[20, 16, 44, 48]], [2]) < 0.01
    assert loss_of(predicted, [[20, 16, 44, 48]], [3]) > 5.0
    assert loss_of(predicted, [[60, 10, 84, 42]], [2]) > 5.0


def test_nobody_learns_from_an_ignored_box() -> None:
    sure = outputs([20, 16, 44, 48], sure=3.0)
    empty, ignored = loss_of(sure, [], []), loss_of(sure, [[0, 0, WIDTH, HEIGHT]], [IGNORED])
    assert empty > 5.0
    assert ignored == pytest.approx(0.0, abs=1e-6)


def test_a_batch_costs_the_mean_of_its_images() -> None:
    random = np.random.default_rng(1)
    parts = []
    for row in range(3):
        predicted = outputs([10, 10, 30 + 10 * row, 40])
        predicted["objectness"] += random.normal(size=(1, CELLS)).astype(np.float32)
        parts.append((predicted, *targets([[12, 10, 40, 40]] * row, [row] * row)))
    alone = [float(detection_loss(*part, CORNERS, STRIDES)) for part in parts]
    together = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    boxes, classes = (np.concatenate([part[index] for part in parts]) for index in (1, 2))
    assert float(detection_loss(together, boxes, classes, CORNERS, STRIDES)) == pytest.approx(np.mean(alone), rel=1e-5)


def test_gradients_are_finite_even_for_wild_boxes() -> None:
    import tensorflow as tf

    variable = tf.Variable(np.array(outputs([5, 5, 5, 5])["boxes"]))
    with tf.GradientTape() as tape:
        predicted = {**outputs([0, 0, 1, 1]), "boxes": variable}
        loss = detection_loss(predicted, *targets([[20, 16, 44, 48]], [1]), CORNERS, STRIDES)
    assert np.isfinite(tape.gradient(loss, variable).numpy()).all()


def test_vectors_of_one_person_are_drawn_together() -> None:
    names = np.array([[1, 1, 2, 2, -1, -1]], np.int32)
    near = np.array([[[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]]], np.float32)
    mixed_up = np.array([[[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]], np.float32)
    assert float(identity_loss(near, names)) < 0.01
    assert float(identity_loss(mixed_up, names)) > 5.0
    assert float(identity_loss(near, np.array([[1, 2, 3, -1, -1, -1]], np.int32))) == 0.0


def test_identities_count_where_the_network_has_looks() -> None:
    predicted = outputs([20, 16, 44, 48])
    predicted["looks"] = np.random.default_rng(0).normal(size=(1, 8, 12, PARTS * 8)).astype(np.float32)
    true = targets([[20, 16, 44, 48], [60, 10, 84, 42], [10, 8, 30, 40]], [0, 0, 0])
    names = np.array([[5, 5, 6, -1]], np.int32)
    without = float(detection_loss(predicted, *true, CORNERS, STRIDES))
    assert float(detection_loss(predicted, *true, CORNERS, STRIDES, names)) > without
    assert keras.backend.backend() == "tensorflow"
