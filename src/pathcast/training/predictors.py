"""A served file as a function of images, and what it finds on labelled ones; without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import UInt8Array
from pathcast.core.detections import Detections
from pathcast.detection.average_precision import DetectorScores, average_precision
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.postprocess import NMS_IOU, SCORE_THRESHOLD, to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.detection.samples import InputSize

BATCH = 8

Predict = Callable[[UInt8Array], Mapping[str, npt.NDArray[Any]]]
"""(n, h, w, 3) RGB → the served outputs."""


def onnx_predictor(file: Path | bytes, threads: int = 1) -> Predict:
    """A served file as a function of images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    source = file if isinstance(file, bytes) else str(file)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def predict(images: UInt8Array) -> Mapping[str, npt.NDArray[Any]]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return predict


def detect(
    predict: Predict, labelled: LabelledImages, size: InputSize, *, score: float = SCORE_THRESHOLD
) -> list[Detections]:
    """What the network finds on every image, in the order of the set."""
    found: list[Detections] = []
    for start in range(0, len(labelled), BATCH):
        chosen = labelled.images[start : start + BATCH]
        batch = np.empty((len(chosen), size[1], size[0], 3), np.uint8)
        fits = [letterbox(labelled.read(image), batch[row]) for row, image in enumerate(chosen)]
        out = predict(batch)
        for row, fit in enumerate(fits):
            rows = (out["boxes"][row], out["scores"][row], out["classes"][row])
            found.append(to_detections(*rows, fit, score_threshold=score, nms_iou=NMS_IOU))
    return found


def evaluate_network(predict: Predict, labelled: LabelledImages, size: InputSize) -> DetectorScores:
    """COCO's average precision on a labelled set, at the platform's own settings."""
    return average_precision(detect(predict, labelled, size), [image.truth() for image in labelled])
