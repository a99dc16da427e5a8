"""Detectors that label: any file of the served signature, and Ultralytics' models where that package is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_ID_OF_COCO
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.training.labelling import Teacher

_WEAKEST = 0.05


def find_teacher(file: Path, threads: int = 1) -> Teacher:
    """A teacher from a served ONNX file, or from an Ultralytics file (`.pt`)."""
    return ultralytics_teacher(file) if file.suffix == ".pt" else onnx_teacher(file, threads)


def onnx_teacher(file: Path, threads: int = 1) -> Teacher:
    """A detector in the served signature: `images` → `boxes`, `scores`, `classes`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise InvalidInputError(f"{file}: not a model that onnxruntime loads: {error}") from error
    names = ["boxes", "scores", "classes"]
    if [value.name for value in session.get_inputs()] != ["images"] or not set(names) <= {
        value.name for value in session.get_outputs()
    }:
        raise InvalidInputError(
            f"{file}: expected a detector with input 'images' and outputs {names}",
            hint=f"convert it: pathcast models import {file} --family detector --output DIR",
        )
    _, height, width, _ = session.get_inputs()[0].shape
    batch = np.empty((1, height, width, 3), np.uint8)

    def look(pixels: UInt8Array) -> Detections:
        fit = letterbox(pixels, batch[0])
        boxes, scores, classes = session.run(names, {"images": batch})
        return to_detections(boxes[0], scores[0], classes[0], fit, score_threshold=_WEAKEST)

    return look


def ultralytics_teacher(file: Path) -> Teacher:
    """A YOLO of Ultralytics, trained on COCO's 80 classes. AGPL-3.0: what that asks of you is yours to judge."""
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise InvalidInputError(
            f"{file}: an Ultralytics model needs the package ultralytics (AGPL-3.0), which is not installed",
            hint="install pathcast[yolo], or use a served ONNX file as the teacher",
        ) from error
    model: Any = YOLO(str(file))

    def look(pixels: UInt8Array) -> Detections:
        # Ultralytics takes arrays as BGR.
        found = model.predict(np.ascontiguousarray(pixels[..., ::-1]), conf=_WEAKEST, verbose=False)[0].boxes
        ids = found.cls.cpu().numpy().astype(np.int64)
        kept = np.array([int(coco) in CLASS_ID_OF_COCO for coco in ids], np.bool_)
        classes = [CLASS_ID_OF_COCO[int(coco)] for coco in ids[kept]]
        return Detections(found.xyxy.cpu().numpy()[kept], found.conf.cpu().numpy()[kept], classes)

    return look
