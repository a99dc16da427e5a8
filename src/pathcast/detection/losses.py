"""What the detector minimises: overlap of boxes, objectness and class, over the cells that SimOTA chose.

YOLOX (arXiv:2107.08430): 5 x (1 - IoU²) of the boxes, binary cross entropies of objectness and of the class, whose
target is the IoU. Every image is divided by its own number of learning cells, so that this loss of a batch is the mean
of its pieces' however it is split over workers. That of identities is not: it compares the boxes of one piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from pathcast.core.arrays import Float32Array
from pathcast.detection.assignment import assign, iou
from pathcast.detection.looks import pooled_looks
from pathcast.detection.samples import IGNORED

BOX_WEIGHT = 5.0
IDENTITY_WEIGHT = 0.5
"""About the balance of the two tasks that FairMOT (arXiv:2004.01888) starts to learn from."""

_FEWEST_CELLS = 10.0
"""An image with fewer learning cells counts as one with so many, or empty images would outweigh all others."""

_TEMPERATURE = 0.1


def detection_loss(
    outputs: Mapping[str, Any],
    true_boxes: Any,
    true_classes: Any,
    corners: Float32Array,
    strides: Float32Array,
    identities: Any = None,
) -> Any:
    """The mean loss of a batch, or of one of its pieces.

    `outputs` as of `build_detector`; `true_boxes` (n, g, 4) xyxy in input pixels; `true_classes` (n, g) class
    ids, -1 for padding and -2 for boxes to ignore: cells inside those that learn no object learn nothing.
    `identities` (n, g) are numbers of persons across images, -1 for unknown; with `looks` in the outputs, what
    they say of one person is drawn together, among the images given here alone.
    """
    boxes, objectness, classes = outputs["boxes"], outputs["objectness"], outputs["classes"]
    present = ops.cast(true_classes >= 0, boxes.dtype)
    one_hot = ops.one_hot(true_classes, classes.shape[-1], dtype=boxes.dtype)
    chosen = assign(
        ops.stop_gradient(boxes),
        ops.stop_gradient(objectness),
        ops.stop_gradient(classes),
        true_boxes,
        one_hot,
        present,
        corners,
        strides,
    )
    taken = ops.stop_gradient(chosen.taken)
    own_boxes = ops.take_along_axis(true_boxes, chosen.objects[..., None], axis=1)
    own_classes = ops.take_along_axis(one_hot, chosen.objects[..., None], axis=1)
    box_loss = (1.0 - ops.square(iou(boxes, own_boxes))) * taken
    class_targets = own_classes * ops.stop_gradient(chosen.overlaps)[..., None]
    class_loss = ops.sum(_cross_entropy(classes, class_targets), axis=-1) * taken
    asked = ops.maximum(taken, 1.0 - _inside(true_boxes, true_classes == IGNORED, corners, strides))
    per_cell = BOX_WEIGHT * box_loss + class_loss + _cross_entropy(objectness, taken) * asked
    cells = ops.maximum(ops.sum(taken, axis=1), _FEWEST_CELLS)
    loss = ops.mean(ops.sum(per_cell, axis=1) / cells)
    if identities is not None and "looks" in outputs:
        known = ops.where(true_classes >= 0, identities, -1)
        loss = loss + IDENTITY_WEIGHT * identity_loss(pooled_looks(outputs["looks"], true_boxes), known)
    return loss


def identity_loss(embeddings: Any, identities: Any) -> Any:
    """Supervised contrast (Khosla et al., 2020, arXiv:2004.11362) among the objects of known identity of a batch.

    `embeddings` (n, g, d) of length 1, `identities` (n, g) with -1 for unknown. 0 where no identity appears twice. The
    loss of a batch is not the mean of its pieces': objects in different pieces are not compared.
    """
    flat, names = ops.reshape(embeddings, (-1, embeddings.shape[-1])), ops.reshape(identities, (-1,))
    known = ops.cast(names >= 0, "float32")
    both = known[:, None] * known[None, :] * (1.0 - ops.eye(names.shape[0], dtype="float32"))
    same = ops.cast(ops.equal(names[:, None], names[None, :]), "float32") * both
    logits = ops.matmul(flat, ops.transpose(flat)) / _TEMPERATURE
    logits = ops.where(both > 0, logits, -1e9)
    log_share = logits - ops.logsumexp(logits, axis=1, keepdims=True)
    pairs = ops.sum(same, axis=1)
    per_object = -ops.sum(ops.where(same > 0, log_share, 0.0), axis=1) / ops.maximum(pairs, 1.0)
    counted = ops.cast(pairs > 0, "float32")
    return ops.sum(per_object * counted) / ops.maximum(ops.sum(counted), 1.0)


def _inside(boxes: Any, wanted: Any, corners: Float32Array, strides: Float32Array) -> Any:
    """(n, a): 1 for cells whose middle lies in a `wanted` (n, g) one of the boxes (n, g, 4)."""
    centres = ((corners + 0.5) * strides[:, None])[None, :, None, :]
    within = ops.all((centres > boxes[:, None, :, :2]) & (centres < boxes[:, None, :, 2:]), axis=-1)
    return ops.cast(ops.any(within & wanted[:, None, :], axis=2), boxes.dtype)


def _cross_entropy(logits: Any, targets: Any) -> Any:
    """Binary cross entropy from logits, stable for large ones."""
    return ops.maximum(logits, 0.0) - logits * targets + ops.softplus(-ops.abs(logits))
