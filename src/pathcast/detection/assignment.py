"""Which cells learn which object: SimOTA.

Ge et al., YOLOX, 2021, arXiv:2107.08430, section 2 ("SimOTA"), after OTA (arXiv:2103.14259): a cell may learn an
object that it lies in or close to the middle of; every object takes its cheapest cells, more of them the better the
boxes already overlap it. All images and objects at once, in `keras.ops`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from pathcast.core.arrays import Float32Array

CENTRE_RADIUS = 2.5
"""Strides around an object's middle in which a cell is close to it."""

CANDIDATES = 10
IOU_WEIGHT = 3.0
_FAR = 1e5
_NEVER = 1e9
_TINY = 1e-7


@dataclass(frozen=True, slots=True)
class Assignment:
    """Over images n and cells a: `taken` (n, a) is 1 where a cell learns an object, that of index `objects` (n, a).

    `overlaps` (n, a) is the IoU of the cell's box with the object, 0 elsewhere.
    """

    taken: Any
    objects: Any
    overlaps: Any


def iou(boxes: Any, others: Any) -> Any:
    """IoU of boxes (..., 4) with others (..., 4), xyxy, over axes that are alike or 1; empty boxes overlap nothing."""
    low = ops.maximum(boxes[..., :2], others[..., :2])
    high = ops.minimum(boxes[..., 2:], others[..., 2:])
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    return shared / ops.maximum(_area(boxes) + _area(others) - shared, _TINY)


def assign(
    boxes: Any,
    objectness: Any,
    classes: Any,
    true_boxes: Any,
    true_classes: Any,
    present: Any,
    corners: Float32Array,
    strides: Float32Array,
) -> Assignment:
    """Match cells with objects.

    Predicted `boxes` (n, a, 4), `objectness` (n, a) and `classes` (n, a, c) as logits; `true_boxes` (n, g, 4)
    xyxy in the same pixels, `true_classes` (n, g, c) one-hot, `present` (n, g) 1 for objects and 0 for padding;
    the cells' `corners` (a, 2) in strides and `strides` (a,).
    """
    centres = (corners + 0.5) * strides[:, None]
    reach = CENTRE_RADIUS * strides
    middles = (true_boxes[..., :2] + true_boxes[..., 2:]) / 2.0
    to_low = centres[None, :, None, :] - true_boxes[:, None, :, :2]
    to_high = true_boxes[:, None, :, 2:] - centres[None, :, None, :]
    inside = ops.minimum(ops.min(to_low, axis=-1), ops.min(to_high, axis=-1)) > 0.0
    apart = ops.max(ops.abs(centres[None, :, None, :] - middles[:, None]), axis=-1)
    near = apart < reach[None, :, None]
    real = (present > 0.0)[:, None, :]
    # A cell near to or inside any object may learn; for an object of which it is both, it costs less.
    candidate = ops.any((inside | near) & real, axis=2)
    both = ops.cast(inside & near, boxes.dtype)
    overlaps = iou(boxes[:, :, None], true_boxes[:, None]) * ops.cast(real, boxes.dtype)
    cost = _class_cost(objectness, classes, true_classes) - IOU_WEIGHT * ops.log(overlaps + 1e-8) + _FAR * (1.0 - both)
    allowed = candidate[:, :, None] & real
    cost = ops.where(allowed, cost, _NEVER)
    usable = ops.where(allowed, overlaps, 0.0)
    by_object = ops.transpose(usable, (0, 2, 1))
    best, _ = ops.top_k(by_object, CANDIDATES)
    wanted = ops.maximum(ops.cast(ops.sum(best, axis=-1), "int32"), 1)
    cheapest, _ = ops.top_k(-ops.transpose(cost, (0, 2, 1)), CANDIDATES)
    limit = -ops.take_along_axis(cheapest, (wanted - 1)[..., None], axis=2)[..., 0]
    matched = allowed & (cost <= limit[:, None, :])
    # A cell that several objects want learns the one that it costs least.
    objects = ops.argmin(ops.where(matched, cost, 2 * _NEVER), axis=2)
    taken = ops.cast(ops.any(matched, axis=2), boxes.dtype)
    chosen = ops.take_along_axis(overlaps, objects[..., None], axis=2)[..., 0]
    return Assignment(taken, objects, chosen * taken)


def _class_cost(objectness: Any, classes: Any, true_classes: Any) -> Any:
    """Binary cross entropy (n, a, g) of each cell's class scores against each object's class."""
    scores = ops.sqrt(ops.sigmoid(classes) * ops.sigmoid(objectness)[..., None])
    scores = ops.clip(scores, _TINY, 1.0 - 1e-6)
    against = -ops.log(1.0 - scores)
    difference = -ops.log(scores) - against
    return ops.sum(against, axis=-1)[..., None] + ops.matmul(difference, ops.transpose(true_classes, (0, 2, 1)))


def _area(boxes: Any) -> Any:
    return ops.prod(ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)
