"""What detected objects look like, as vectors: a re-identification model from an ONNX file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, Int64Array, UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.serving.local_models import open_session, read_model

MAX_BATCH = 32

# The statistics of ImageNet, with which such models are trained (mean and deviation of RGB in [0, 1]).
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class FileAppearance:
    """A model of one input [n, 3, H, W] (RGB, normalised as for ImageNet) and one output [n, d], as OSNet is."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInputError where the file is no such model."""
        content = read_model(path)
        self.model, self.version = path.stem, hashlib.sha256(content).hexdigest()[:12]
        self._session = open_session(path, content)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [tensor.shape for tensor in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or len(shapes[1]) != 2:
            raise InvalidInputError(f"model {path}: expected [n, 3, H, W] to [n, d], got {shapes}")
        self._input, self._size, self._length = inputs[0].name, (shapes[0][3], shapes[0][2]), shapes[1][1]

    def embed(self, image: UInt8Array, xyxy: Float32Array) -> Float32Array:
        """(n, d) vectors of the boxes `xyxy` (n, 4) in `image` (h, w, 3) RGB; zeros where a box holds no pixel."""
        height, width = image.shape[:2]
        corners = np.round(xyxy).astype(np.int64)
        corners[:, 0::2] = corners[:, 0::2].clip(0, width)
        corners[:, 1::2] = corners[:, 1::2].clip(0, height)
        rows = np.flatnonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
        vectors = np.zeros((len(xyxy), self._length), np.float32)
        for start in range(0, len(rows), MAX_BATCH):
            some = rows[start : start + MAX_BATCH]
            vectors[some] = self._session.run(None, {self._input: self._crops(image, corners[some])})[0]
        return vectors

    def _crops(self, image: UInt8Array, corners: Int64Array) -> Float32Array:
        crops = np.empty((len(corners), self._size[1], self._size[0], 3), np.float32)
        for row, (left, top, right, bottom) in enumerate(corners.tolist()):
            crops[row] = cv2.resize(image[top:bottom, left:right], self._size, interpolation=cv2.INTER_LINEAR)
        crops /= 255.0
        crops -= _MEAN
        crops /= _DEVIATION
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))


class _Detector(Protocol):
    model: str

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]: ...


class EmbeddingDetector:
    """A detector whose detections carry what they look like; those below `least_score` carry zeros."""

    def __init__(
        self, detector: _Detector, appearance: FileAppearance, *, least_score: float, workers: int = 2
    ) -> None:
        self.model = detector.model
        self._detector, self._appearance, self._least_score = detector, appearance, least_score
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="appearance")

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        """The detections of the detector, and its version."""
        found, version = self._detector.detect(images)
        return list(self._workers.map(self._embedded, images, found)), version

    def _embedded(self, image: UInt8Array, detections: Detections) -> Detections:
        return embedded(self._appearance, image, detections, self._least_score)


def embedded(appearance: FileAppearance, image: UInt8Array, detections: Detections, least_score: float) -> Detections:
    """`detections` of `image` with their vectors; zeros, unknown to the tracker, below `least_score`."""
    rows = np.flatnonzero(detections.scores >= least_score)
    vectors = appearance.embed(image, detections.xyxy[rows])
    every = np.zeros((len(detections), vectors.shape[1]), np.float32)
    every[rows] = vectors
    return Detections(detections.xyxy, detections.scores, detections.class_ids, every)
