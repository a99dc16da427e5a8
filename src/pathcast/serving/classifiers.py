"""Image classifiers as functions, from a file or behind Triton: squares of pixels to probabilities."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.serving.local_models import open_session, read_model
from pathcast.serving.remote_models import ModelServer, of_one_version

BATCH = 16
"""Images of a request; the features of more do not fit a core's cache."""


class Classifier(Protocol):
    """A served classifier: `images` UINT8 [n, side, side, 3] RGB → `probabilities` FP32 [n, classes]."""

    model: str
    side: int
    classes: int

    def classify(self, images: UInt8Array) -> tuple[Float32Array, str]:
        """Probabilities (n, classes) of any number of images, and the model's version."""
        ...


class FileClassifier:
    """A classifier from an ONNX file, on one thread; its version is the start of the file's SHA-256."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInputError where the file is no classifier of the served signature."""
        content = read_model(path)
        self.model, self.version = path.stem, hashlib.sha256(content).hexdigest()[:12]
        self._session = open_session(path, content)
        inputs = {tensor.name: (tensor.type, tensor.shape) for tensor in self._session.get_inputs()}
        outputs = {tensor.name: (tensor.type, tensor.shape) for tensor in self._session.get_outputs()}
        kind, shape = inputs.get("images", ("", []))
        _, answer = outputs.get("probabilities", ("", []))
        self.side, self.classes = _sizes(str(path), kind == "tensor(uint8)", shape, answer, f"{inputs} to {outputs}")

    def classify(self, images: UInt8Array) -> tuple[Float32Array, str]:
        parts = [
            self._session.run(["probabilities"], {"images": images[start : start + BATCH]})[0]
            for start in range(0, len(images), BATCH)
        ]
        return np.concatenate([np.zeros((0, self.classes), np.float32), *parts]), self.version


class RemoteClassifier:
    """A classifier behind Triton."""

    def __init__(self, client: ModelServer, model: str) -> None:
        """Raises InvalidInputError where what is served there is no classifier, or nothing is."""
        self.model = model
        self._client = client
        found = client.metadata(model)
        given, answer = found.inputs.get("images"), found.outputs.get("probabilities")
        self.side, self.classes = _sizes(
            model,
            given is not None and given.datatype == "UINT8",
            () if given is None else given.shape,
            () if answer is None else answer.shape,
            f"{ {name: str(spec) for name, spec in {**found.inputs, **found.outputs}.items()} }",
        )

    def classify(self, images: UInt8Array) -> tuple[Float32Array, str]:
        def ask() -> list[tuple[Float32Array, str]]:
            batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
            answers = [self._client.infer(self.model, {"images": batch}) for batch in batches]
            return [(each.outputs["probabilities"], each.model_version) for each in answers]

        parts, version = of_one_version(self.model, ask)
        return np.concatenate(parts or [np.zeros((0, self.classes), np.float32)]), version


def open_classifier(client: ModelServer, model: str) -> RemoteClassifier:
    """The classifier behind Triton; ServiceUnavailableError where it is not loaded."""
    if not client.ready(model):
        raise ServiceUnavailableError(
            f"model {model} is not loaded, and a camera asks for it",
            hint="publish it (`pathcast pipeline run train_model`), or take it out of the camera's [classify]: "
            "`pathcast camera FILE`, where an empty table asks none",
        )
    return RemoteClassifier(client, model)


def _sizes(
    name: str, takes_bytes: bool, given: list[int] | tuple[int, ...], answer: list[int] | tuple[int, ...], got: str
) -> tuple[int, int]:
    """Side of the images and number of classes."""
    if not takes_bytes or len(given) != 4 or given[1] != given[2] or given[3] != 3 or len(answer) != 2:
        raise InvalidInputError(
            f"model {name}: expected images UINT8 [n, side, side, 3] to probabilities [n, classes], got {got}",
            hint="export it in the served signature: `pathcast export signs`",
        )
    return int(given[1]), int(answer[1])
