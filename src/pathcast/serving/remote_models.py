"""The served models as functions: frames to detections, observed steps to predicted paths."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.trajectory import FUTURE_STEPS
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import Letterbox, letterbox
from pathcast.serving.model_metadata import Inference, ModelMetadata, Signature

STAND_IN = "constant_velocity 1"
"""What forecasts while no forecaster is served: model and version."""

_TRIES = 3
_Answer = TypeVar("_Answer")

SIGNATURES: Mapping[str, Signature] = {
    "detector": Signature(("images",), ("boxes", "scores", "classes")),
    "forecaster": Signature(("observed", "neighbours"), ("paths", "log_probs")),
    "signs": Signature(("images",), ("probabilities",)),
    "actions": Signature(("frames",), ("probabilities", "frame_scores")),
}
"""How the models of these names are asked, by the analyzer, its replay, the streaming endpoint and the commands."""


class ModelServer(Protocol):
    """Where models are served: TritonClient from outside the server, SiblingModels from inside it."""

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> Inference: ...

    def metadata(self, model: str) -> ModelMetadata: ...

    def ready(self, model: str) -> bool: ...


def require_fit(server: ModelServer, part: str, model: str) -> None:
    """Raise InvalidInputError where the served `model` cannot be asked as that part of the analyzer."""
    metadata = server.metadata(model)
    if misfit := SIGNATURES[part].misfit(metadata.inputs, metadata.outputs):
        raise InvalidInputError(
            f"model {model}, version {', '.join(metadata.versions)}: {misfit}",
            hint="it is of another release: publish one of this (pathcast models publish, or the pipeline train_model)",
        )


@dataclass(frozen=True, slots=True, eq=False)
class ForecastBatch:
    """`paths` (n, M, 12, 2) and `log_probs` (n, M), with the model that made them."""

    paths: Float32Array
    log_probs: Float32Array
    model: str
    model_version: str


class RemoteDetector:
    """The model `detector` behind Triton; frames go in batches of at most `max_batch`. Threads may share it.

    Detections carry what they look like where the model serves `embeddings`.
    """

    def __init__(self, client: ModelServer, model: str = "detector", *, max_batch: int = 8) -> None:
        self.model = model
        self._client = client
        self._max_batch = max_batch
        self._canvas = _Canvas()

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        """Detections of RGB images (h, w, 3) of any sizes, in their own pixels, and the model version of them all."""
        chunks = [images[start : start + self._max_batch] for start in range(0, len(images), self._max_batch)]
        found, version = of_one_version(self.model, lambda: [self._detect_chunk(chunk) for chunk in chunks])
        return list(chain.from_iterable(found)), version

    def _detect_chunk(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        try:
            answer, fits = self._infer(images)
        except InvalidInputError:
            self._canvas.batch = None  # a version with another input size has been loaded
            answer, fits = self._infer(images)
        outputs = answer.outputs
        looks = outputs.get("embeddings", [None] * len(fits))
        rows = zip(outputs["boxes"], outputs["scores"], outputs["classes"], fits, looks, strict=True)
        return [to_detections(*row) for row in rows], answer.model_version

    def _infer(self, images: Sequence[UInt8Array]) -> tuple[Inference, list[Letterbox]]:
        canvas = self._batch_canvas()
        fits = [letterbox(image, canvas[row]) for row, image in enumerate(images)]
        return self._client.infer(self.model, {"images": canvas[: len(images)]}), fits

    def _batch_canvas(self) -> UInt8Array:
        """Reused for every request of a thread: (max_batch, H, W, 3), its size read from the served model."""
        if self._canvas.batch is None:
            shape = self._client.metadata(self.model).inputs["images"].shape
            if len(shape) != 4 or shape[3] != 3:
                raise PathcastError(
                    f"model {self.model}: expected input images [n, h, w, 3], got {list(shape)}",
                    hint="publish it with `pathcast models import`",
                )
            self._canvas.batch = np.empty((self._max_batch, int(shape[1]), int(shape[2]), 3), np.uint8)
        return self._canvas.batch


class _Canvas(threading.local):
    """Each thread's own."""

    batch: UInt8Array | None = None


class RemoteForecaster:
    """The model `forecaster` behind Triton; until one is loaded there, constant velocity.

    Once it has served it is required: `served` is part of the analyzer's state, so that a Triton that is
    still loading after a restart is waited for, and replayed frames get the forecasts they had. Tracks
    go in requests of at most `max_batch`, the served model's limit.
    """

    def __init__(self, client: ModelServer, model: str = "forecaster", *, max_batch: int = 1024) -> None:
        self.model = model
        self._max_batch = max_batch
        self._client = client
        self.served = False

    def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch:
        """Paths for observed steps (n, 8, 2) and neighbours (n, 8, 5), n ≥ 1, absolute positions in metres."""
        self.served = self.served or self._client.ready(self.model)
        if not self.served:
            return constant_velocity(observed)
        batches = [slice(start, start + self._max_batch) for start in range(0, len(observed), self._max_batch)]

        def ask() -> list[tuple[Mapping[str, NDArray[Any]], str]]:
            asked = ({"observed": observed[batch], "neighbours": neighbours[batch]} for batch in batches)
            answers = [self._client.infer(self.model, inputs) for inputs in asked]
            return [(each.outputs, each.model_version) for each in answers]

        outputs, version = of_one_version(self.model, ask)
        paths, log_probs = (np.concatenate([each[name] for each in outputs]) for name in ("paths", "log_probs"))
        return ForecastBatch(paths, log_probs, self.model, version)


def served_models(
    client: ModelServer, detector: str = "detector"
) -> tuple[RemoteDetector, RemoteForecaster, tuple[str, ...]]:
    """The models behind `client`, and their names and versions; constant velocity where no forecaster is loaded."""
    ahead = RemoteForecaster(client)
    name = f"{ahead.model} {client.metadata(ahead.model).versions[-1]}" if client.ready(ahead.model) else STAND_IN
    return RemoteDetector(client, detector), ahead, (f"{detector} {client.metadata(detector).versions[-1]}", name)


def of_one_version(model: str, ask: Callable[[], Sequence[tuple[_Answer, str]]]) -> tuple[list[_Answer], str]:
    """What `ask` gets, asked again where another version was loaded between its requests, and the version.

    Raises ServiceUnavailableError where each try meets another one.
    """
    for _ in range(_TRIES):
        answers = ask()
        versions = {version for _, version in answers}
        if len(versions) < 2:
            return [answer for answer, _ in answers], versions.pop() if versions else ""
    raise ServiceUnavailableError(
        f"model {model}: expected answers of one version, got {' and '.join(sorted(versions))}, {_TRIES} times",
        hint="see whether something loads versions in turn: pathcast models list",
    )


def constant_velocity(observed: Float32Array) -> ForecastBatch:
    """One path each: the last displacement, twelve times over."""
    velocity = observed[:, -1] - observed[:, -2]
    ahead = np.arange(1, FUTURE_STEPS + 1, dtype=np.float32)[:, None]
    paths = observed[:, -1][:, None] + ahead * velocity[:, None]
    return ForecastBatch(paths[:, None], np.zeros((len(paths), 1), np.float32), *STAND_IN.split())
