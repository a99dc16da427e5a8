"""From the detector's served outputs to the objects of a frame."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, Int64Array
from pathcast.core.detections import Detections
from pathcast.detection.preprocess import Letterbox

SCORE_THRESHOLD = 0.01
NMS_IOU = 0.65
"""Both as YOLOX's authors evaluate it; the tracker sets its own, higher bars for the score."""


def to_detections(
    boxes: Float32Array,
    scores: Float32Array,
    classes: Int64Array,
    fit: Letterbox,
    embeddings: Float32Array | None = None,
    *,
    score_threshold: float = SCORE_THRESHOLD,
    nms_iou: float = NMS_IOU,
) -> Detections:
    """One frame's served outputs as Detections in frame pixels, best score first.

    `boxes` (k, 4) xyxy in input pixels, `scores` (k,), `classes` (k,), `embeddings` (k, d). Rows under
    `score_threshold` go, then rows that overlap a better one of their class by more than `nms_iou`; boxes
    are clipped to the frame, and those with nothing inside it go.
    """
    strong = (scores >= score_threshold).nonzero()[0]
    kept = strong[suppress(boxes[strong], scores[strong], classes[strong], nms_iou)]
    xyxy = fit.to_frame(boxes[kept])
    np.clip(xyxy, 0, (fit.frame_width, fit.frame_height) * 2, out=xyxy)
    visible = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    if not visible.all():
        kept, xyxy = kept[visible], xyxy[visible]
    looks = None if embeddings is None else embeddings[kept]
    # Rounding can put a sigmoid's product a hair over 1.
    return Detections(xyxy, scores[kept].clip(0, 1), classes[kept], looks)


def suppress(boxes: Float32Array, scores: Float32Array, classes: Int64Array, iou_threshold: float) -> Int64Array:
    """Greedy class-wise non-maximum suppression: the indices kept, best score first, of equals the first.

    `boxes` (n, 4) xyxy, `scores` and `classes` (n,). A row goes when its intersection over union with a
    kept row of the same class is over `iou_threshold`.

    >>> boxes = np.array([[0, 0, 4, 3.9], [0, 0, 4, 4], [0, 0, 4, 4]], dtype=np.float32)
    >>> suppress(boxes, np.array([0.8, 0.9, 0.7], np.float32), np.array([0, 0, 1]), 0.5).tolist()
    [1, 2]
    """
    if not len(boxes):
        return np.empty(0, dtype=np.int64)
    # cv2 takes an array of doubles as it is, and one of any other type number by number.
    corner_and_size: Any = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1, dtype=np.float64)
    labels: Any = classes.astype(np.int32)
    confidences: Any = scores
    under_any = -1.0
    kept = cv2.dnn.NMSBoxesBatched(corner_and_size, confidences, labels, under_any, iou_threshold)
    return np.asarray(kept, dtype=np.int64)
