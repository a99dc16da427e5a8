"""Detectors that label: any file of the served signature, and Ultralytics' models where that package is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, class_id_of
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.registry.ultralytics import open_ultralytics
from pathcast.serving.local_models import open_session, read_model, require_tensors
from pathcast.serving.remote_models import SIGNATURES
from pathcast.training.labelling import Teacher

_DETECTOR = SIGNATURES["detector"]
_WEAKEST = 0.05


def find_teacher(file: Path, threads: int = 1) -> Teacher:
    """A teacher from a served ONNX file, or from an Ultralytics file (`.pt`)."""
    return ultralytics_teacher(file, threads) if file.suffix == ".pt" else onnx_teacher(file, threads)


def teacher_name(file: Path) -> str:
    """What a data card calls a teacher's file: model and version where it lies as such, else the file's own name.

    >>> teacher_name(Path("model_repo/detector/1/model.onnx")), teacher_name(Path("yolo11x.pt"))
    ('detector 1', 'yolo11x.pt')
    """
    version = file.absolute().parent
    return f"{version.parent.name} {version.name}" if version.name.isdigit() else file.name


def onnx_teacher(file: Path, threads: int = 1) -> Teacher:
    """A detector in the served signature: `images` → `boxes`, `scores`, `classes`."""
    session = open_session(file, read_model(file), threads)
    require_tensors(file, session, _DETECTOR)
    _, height, width, _ = session.get_inputs()[0].shape
    batch = np.empty((1, height, width, 3), np.uint8)

    def look(pixels: UInt8Array) -> Detections:
        fit = letterbox(pixels, batch[0])
        boxes, scores, classes = session.run(_DETECTOR.outputs, {"images": batch})
        return to_detections(boxes[0], scores[0], classes[0], fit, score_threshold=_WEAKEST)

    return look


def ultralytics_teacher(file: Path, threads: int = 1) -> Teacher:
    """A YOLO of Ultralytics that knows some of the platform's classes by name.

    AGPL-3.0: what that asks of you is yours to judge.
    """
    model = open_ultralytics(file, threads)
    found = {index: class_id_of(name) for index, name in model.names.items()}
    classes = {index: class_id for index, class_id in found.items() if class_id is not None}
    if not classes:
        raise InvalidInputError(
            f"{file}: expected classes among {', '.join(CLASS_NAMES)}, got {list(model.names.values())[:10]}"
        )

    def look(pixels: UInt8Array) -> Detections:
        # Ultralytics takes arrays as BGR.
        found = model.predict(
            np.ascontiguousarray(pixels[..., ::-1]), conf=_WEAKEST, classes=list(classes), verbose=False
        )[0].boxes
        boxes, scores = found.xyxy.cpu().numpy().reshape(-1, 4), found.conf.cpu().numpy()
        return Detections(boxes, scores, [classes[int(index)] for index in found.cls.cpu().numpy()])

    return look
