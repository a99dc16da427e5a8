"""Between Triton's requests and the sessions that answer them."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pathcast.core.errors import InvalidInputError
from pathcast.core.frame_memory import keep_frame_memory
from pathcast.core.observation import Observation
from pathcast.core.trajectory import FUTURE_STEPS
from pathcast.messaging.observation_codec import encode_observation
from pathcast.serving.mot import TRACKER_VARIABLE
from pathcast.serving.remote_models import RemoteDetector, RemoteForecaster
from pathcast.serving.sibling_models import SiblingModels
from pathcast.serving.stream_sessions import Answer, StreamRequest, StreamSessions
from pathcast.tracking.settings import tracker_settings

_GRACE_S = 5.0
"""Triton releases an idle sequence first, so that a frame that it let through always finds its session."""

Array = NDArray[Any]


class Endpoint:
    """The model `mot`. `triton` is the module `triton_python_backend_utils`, `config` the model's, as JSON."""

    def __init__(self, triton: Any, config: str) -> None:
        cv2.setNumThreads(1)  # one frame is too small a job to wake threads for, which the detector needs
        keep_frame_memory()
        self._triton = triton
        fields = json.loads(config)
        models = SiblingModels(triton)
        names = {name: entry["string_value"] for name, entry in fields.get("parameters", {}).items()}
        idle_us = int(fields["sequence_batching"]["max_sequence_idle_microseconds"])
        self._sessions = StreamSessions(
            RemoteDetector(models, names.get("detector", "detector"), max_batch=int(fields["max_batch_size"])),
            RemoteForecaster(models, names.get("forecaster", "forecaster")),
            tracker_settings(json.loads(os.environ.get(TRACKER_VARIABLE, "{}"))),
            idle_limit_s=idle_us / 1e6 + _GRACE_S,
            clock=time.monotonic,
        )
        # What is loaded by now stays: looking through it again and again would hold up a frame now and then.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request; a failure stays with its request."""
        answers = self._sessions.answer([self._read(request) for request in requests])
        return [self._response(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def close(self) -> None:
        """End all sequences."""
        self._sessions.close()

    def _read(self, request: Any) -> StreamRequest:
        flags = request.flags()
        pixels = self._input(request, "pixels")
        return StreamRequest(
            sequence=str(request.correlation_id()),
            start=bool(flags & self._triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
            end=bool(flags & self._triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
            client=(self._text(request, "client") or b"").decode(errors="replace"),
            captured_at_ns=int(self._triton.get_input_tensor_by_name(request, "captured_at").as_numpy().item()),
            jpeg=self._text(request, "jpeg"),
            pixels=None if pixels is None else pixels[0],
            camera=self._text(request, "camera"),
        )

    def _input(self, request: Any, name: str) -> Array | None:
        tensor = self._triton.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()

    def _text(self, request: Any, name: str) -> bytes | None:
        array = self._input(request, name)
        return None if array is None else bytes(array.item())

    def _response(self, request: Any, answer: Answer) -> Any:
        triton = self._triton
        if isinstance(answer, Exception):
            refused = isinstance(answer, InvalidInputError)
            code = triton.TritonError.INVALID_ARG if refused else triton.TritonError.UNAVAILABLE
            return triton.InferenceResponse(error=triton.TritonError(str(answer), code))
        wanted = request.requested_output_names()
        return triton.InferenceResponse(
            [triton.Tensor(name, make(answer)[None]) for name, make in OUTPUTS.items() if name in wanted]
        )


def _paths(observation: Observation) -> Array:
    if not observation.forecasts:
        return np.empty((0, 0, FUTURE_STEPS, 2), np.float32)
    return np.stack([forecast.paths for forecast in observation.forecasts])


def _log_probs(observation: Observation) -> Array:
    if not observation.forecasts:
        return np.empty((0, 0), np.float32)
    return np.stack([forecast.log_probs for forecast in observation.forecasts])


def _or_empty(make: Callable[[Observation], Array], *shape: int, dtype: type = np.float32) -> Callable[[Answer], Array]:
    """`make` for an observation; without one an empty array of this shape."""
    return lambda answer: make(answer) if isinstance(answer, Observation) else np.empty(shape, dtype)


OUTPUTS: Mapping[str, Callable[[Answer], Array]] = {
    "boxes": _or_empty(lambda seen: seen.detections.xyxy, 0, 4),
    "scores": _or_empty(lambda seen: seen.detections.scores, 0),
    "classes": _or_empty(lambda seen: seen.detections.class_ids, 0, dtype=np.int64),
    "track_ids": _or_empty(lambda seen: seen.tracks.track_ids, 0, dtype=np.int64),
    "track_boxes": _or_empty(lambda seen: seen.tracks.xyxy, 0, 4),
    "track_scores": _or_empty(lambda seen: seen.tracks.scores, 0),
    "track_classes": _or_empty(lambda seen: seen.tracks.class_ids, 0, dtype=np.int64),
    "positions": _or_empty(lambda seen: seen.positions, 0, 2, dtype=np.float64),
    "forecast_track_ids": _or_empty(
        lambda seen: np.array([each.track_id for each in seen.forecasts], np.int64), 0, dtype=np.int64
    ),
    "forecast_paths": _or_empty(_paths, 0, 0, FUTURE_STEPS, 2),
    "forecast_log_probs": _or_empty(_log_probs, 0, 0),
    "observation": lambda answer: np.array(
        [encode_observation(answer) if isinstance(answer, Observation) else b""], object
    ),
}
"""The served outputs: array of an answer, without the batch axis."""
