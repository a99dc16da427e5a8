"""The models of the same Triton server, called from inside a model of it that is written in Python.

Triton calls this business logic scripting: requests go through shared memory, not over the network. The server
tells a model less about its siblings than a client; what is missing is found out here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.serving.model_metadata import Inference, ModelMetadata, TensorSpec

NEWEST_VERSION = 512
"""Versions are sought up to this number; asking for one takes 20 µs."""

_WRONG_SHAPE = re.compile(r"unexpected shape for input .*?Expect\w+ \[([-\d, ]+)\]", re.DOTALL)


class SiblingModels:
    """A ModelServer inside the server; `triton` is the module `triton_python_backend_utils`."""

    def __init__(self, triton: Any) -> None:
        self._triton = triton
        self._versions: dict[str, int] = {}

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> Inference:
        """Run the newest served version of `model`.

        Raises InvalidInputError where an input has another shape than the model's, ServiceUnavailableError where
        the model is not served, or fails.
        """
        known = self._versions.get(model)
        if known is not None:
            response = self._request(model, known, inputs)
            if not response.has_error() or self._newest(model) == known:
                return _inference(model, known, response)
        # Not called before, or the version that answered until now has been unloaded for another.
        version = self._versions[model] = self._newest(model)
        return _inference(model, version, self._request(model, version, inputs))

    def metadata(self, model: str) -> ModelMetadata:
        """The signature of a detector, as far as it matters: its input `images`.

        A model can't read a sibling's configuration, but a request that does not fit is told what would.
        """
        try:
            self.infer(model, {"images": np.zeros((1, 1, 1, 3), np.uint8)})
        except InvalidInputError as error:
            told = _WRONG_SHAPE.search(error.message)
            if told is not None:
                shape = tuple(int(size) for size in told.group(1).split(","))
                versions = (str(self._versions[model]),)
                return ModelMetadata(model, versions, {"images": TensorSpec("UINT8", shape)}, {})
        raise PathcastError(f"model {model}: the server does not tell which size of images it takes")

    def ready(self, model: str) -> bool:
        """Whether the server serves the model."""
        return bool(self._triton.is_model_ready(model))

    def _newest(self, model: str) -> int:
        ready = self._triton.is_model_ready
        if not ready(model):
            self._versions.pop(model, None)
            raise ServiceUnavailableError(
                f"model {model} is not served", hint=f"publish a {model} first; `pathcast models list` shows what is"
            )
        return max((number for number in range(1, NEWEST_VERSION + 1) if ready(model, str(number))), default=-1)

    def _request(self, model: str, version: int, inputs: Mapping[str, NDArray[Any]]) -> Any:
        tensors = [self._triton.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        return self._triton.InferenceRequest(
            model_name=model, model_version=version, requested_output_names=[], inputs=tensors
        ).exec()


def _inference(model: str, version: int, response: Any) -> Inference:
    if response.has_error():
        message = response.error().message()
        if _WRONG_SHAPE.search(message):
            raise InvalidInputError(f"model {model}: {message}")
        raise ServiceUnavailableError(f"model {model}: {message}", hint="look at the server's log")
    # The tensors lie in memory that is given back with the response.
    outputs = {tensor.name(): np.array(tensor.as_numpy()) for tensor in response.output_tensors()}
    return Inference(outputs, str(version) if version > 0 else "")
