"""Models from files, run in this process by onnxruntime: the same functions as the served ones, without a server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import Letterbox, fitted_input, letterbox
from pathcast.serving.model_metadata import Signature
from pathcast.serving.remote_models import SIGNATURES, ForecastBatch, constant_velocity

_DETECTOR, _FORECASTER = SIGNATURES["detector"], SIGNATURES["forecaster"]
_LOOKS = "embeddings"
_KEPT_SESSIONS = 8


class FileDetector:
    """A detector of the served signature, or YOLOX's published form of it, from an ONNX file.

    Frames go one by one, `workers` at a time with one thread each: on CPUs that is faster than one frame on all
    cores, and the answers do not depend on it. A published YOLOX gets an input of each image's shape, which has no
    more padding than it must. `embeds`: detections carry what they look like.
    """

    def __init__(self, path: Path, *, workers: int = 2) -> None:
        """Raises InvalidInputError where the file is no detector."""
        self.model = path.stem
        content = read_model(path)
        self.version = hashlib.sha256(content).hexdigest()[:12]
        session = open_session(path, content)
        outputs = {tensor.name for tensor in session.get_outputs()}
        self._session_for: Callable[[UInt8Array], Any]
        if "boxes" in outputs:
            require_tensors(path, session, _DETECTOR)
            self._session_for = lambda image: session
        else:
            self._session_for = _PublishedYolox(path).session_for
            self.version += "-fitted"
        self.embeds = _LOOKS in outputs
        self._outputs = [*_DETECTOR.outputs, *([_LOOKS] if self.embeds else [])]
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="detect")

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        """Detections of RGB images (h, w, 3) of any sizes, in their own pixels, and the version."""
        answers = list(self._workers.map(self._infer, images))
        # One after the other: between two runs of the network each would find the processor's caches cold.
        found = [
            to_detections(boxes, scores, classes, fit, *looks) for fit, (boxes, scores, classes, *looks) in answers
        ]
        return found, self.version

    def close(self) -> None:
        """End the threads."""
        self._workers.shutdown()

    def _infer(self, image: UInt8Array) -> tuple[Letterbox, list[Any]]:
        session = self._session_for(image)
        canvas = np.empty((1, *session.get_inputs()[0].shape[1:]), np.uint8)
        fit = letterbox(image, canvas[0])
        return fit, [output[0] for output in session.run(self._outputs, {"images": canvas})]


class _PublishedYolox:
    """A YOLOX file as published, served over inputs of the images' shapes; the last few shapes' sessions are kept."""

    def __init__(self, path: Path) -> None:
        # Needs the package onnx, which a detector in the served signature does not.
        from pathcast.detection.yolox_import import read_yolox

        self._path, self._source = path, read_yolox(path)
        self._sessions: dict[tuple[int, int], Any] = {}
        self._lock = Lock()

    def session_for(self, image: UInt8Array) -> Any:
        """The session whose input has the image's shape, made when that is first seen."""
        from pathcast.detection.yolox_import import to_served

        height, width = image.shape[:2]
        size = fitted_input(width, height, self._source.width, self._source.height)
        with self._lock:
            if size not in self._sessions:
                if len(self._sessions) == _KEPT_SESSIONS:
                    del self._sessions[next(iter(self._sessions))]
                fitted = self._source.fitted_to(width, height) or self._source
                self._sessions[size] = open_session(self._path, to_served(fitted).SerializeToString())
            return self._sessions[size]


class FileForecaster:
    """A forecaster of the served signature from an ONNX file."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInputError where the file is no forecaster."""
        content = read_model(path)
        self.model = "forecaster"
        self.version = hashlib.sha256(content).hexdigest()[:12]
        self.served = True
        self._session = open_session(path, content)
        require_tensors(path, self._session, _FORECASTER)

    def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch:
        """Paths for observed steps (n, 8, 2) and neighbours (n, 8, 5), n ≥ 1, absolute positions in metres."""
        paths, log_probs = self._session.run(_FORECASTER.outputs, {"observed": observed, "neighbours": neighbours})
        return ForecastBatch(paths, log_probs, self.model, self.version)


class ConstantVelocity:
    """The forecaster where none is given: everyone goes straight on."""

    model, version, served = "constant_velocity", "1", False

    def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch:
        """One path each for observed steps (n, 8, 2)."""
        return constant_velocity(observed)


def read_model(path: Path) -> bytes:
    """The file's bytes; raises InvalidInputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"model {path}: {error.strerror}", hint="give the path of an ONNX file") from error


def open_session(path: Path, content: bytes, threads: int = 1) -> Any:
    """A session of `threads` threads; InvalidInputError, naming `path`, where onnxruntime refuses the model."""
    # Here, since the services' images ask Triton and have no onnxruntime.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Weights in files of their own lie beside the model.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.absolute().parent)
    )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        raise InvalidInputError(
            f"model {path}: not a model that onnxruntime loads: {error}", hint="give another file, or export it anew"
        ) from error


def require_tensors(path: Path, session: Any, expected: Signature) -> None:
    """Raise InvalidInputError, naming `path`, where the model cannot be asked as `expected`."""
    inputs, outputs = ([tensor.name for tensor in tensors] for tensors in (session.get_inputs(), session.get_outputs()))
    if misfit := expected.misfit(inputs, outputs):
        raise InvalidInputError(
            f"model {path}: {misfit}",
            hint="export it in the served signature: `pathcast export` or `pathcast models import`",
        )
