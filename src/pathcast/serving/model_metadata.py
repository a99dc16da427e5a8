"""What a served model takes and gives, and whether given arrays fit it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathcast.core.errors import InvalidInputError

_NUMPY_TYPES: Mapping[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor's Triton `datatype` ("FP32") and `shape`, with -1 where any size goes (the batch included)."""

    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(_NUMPY_TYPES[self.datatype])

    def accepts(self, array: NDArray[Any]) -> bool:
        """Whether the array has this type, this number of axes, and these sizes where they are fixed."""
        if array.dtype != self.dtype or array.ndim != len(self.shape):
            return False
        return all(want in (-1, got) for want, got in zip(self.shape, array.shape, strict=True))

    def zeros(self) -> NDArray[Any]:
        """The smallest array this tensor accepts: axes of any size are 1 long."""
        return np.zeros([max(1, size) for size in self.shape], dtype=self.dtype)

    def __str__(self) -> str:
        return f"{self.datatype} {_shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a model is asked: the names of all its `inputs`, and those of its `outputs` that are read."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def misfit(self, inputs: Iterable[str], outputs: Iterable[str]) -> str | None:
        """Why a model of these inputs and outputs cannot be asked so; None where it can.

        >>> Signature(("x",), ("y",)).misfit(["x", "z"], ["y"])
        'expected inputs x and outputs y, got x, z and y'
        """
        takes, gives = list(inputs), list(outputs)
        if set(takes) == set(self.inputs) and set(self.outputs) <= set(gives):
            return None
        expected, got = ((", ".join(names) for names in pair) for pair in ((self.inputs, self.outputs), (takes, gives)))
        return "expected inputs {} and outputs {}, got {} and {}".format(*expected, *got)


@dataclass(frozen=True, slots=True)
class Inference:
    """The outputs of one request by name, and the version of the model that made them."""

    outputs: dict[str, NDArray[Any]]
    model_version: str


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """A request's place in a sequence of a model with state: `number` (1 to 2^63 - 1) names the sequence."""

    number: int
    start: bool = False
    end: bool = False


def random_sequence() -> int:
    """A number for a sequence that no other client has."""
    return secrets.randbelow(2**63 - 1) + 1


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A served model's signature, and the versions that are loaded."""

    name: str
    versions: tuple[str, ...]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    @classmethod
    def from_response(cls, response: Any) -> ModelMetadata:
        """From the `ModelMetadataResponse` message of the inference protocol."""
        return cls(
            name=response.name,
            versions=tuple(response.versions),
            inputs={tensor.name: TensorSpec(tensor.datatype, tuple(tensor.shape)) for tensor in response.inputs},
            outputs={tensor.name: TensorSpec(tensor.datatype, tuple(tensor.shape)) for tensor in response.outputs},
        )

    def accepts(self, inputs: Mapping[str, NDArray[Any]], optional: Collection[str] = ()) -> bool:
        """Whether names, types and shapes of all inputs fit; those in `optional` may be left out."""
        return self._complete(inputs, optional) and all(self.inputs[name].accepts(inputs[name]) for name in inputs)

    def check(self, inputs: Mapping[str, NDArray[Any]], optional: Collection[str] = ()) -> None:
        """Raise `InvalidInputError` that names the first input that does not fit."""
        if not self._complete(inputs, optional):
            raise InvalidInputError(
                f"model {self.name}: expected the inputs {sorted(self.inputs)}, got {sorted(inputs)}",
                hint="name the arrays as the model's signature does",
            )
        for name, array in inputs.items():
            spec = self.inputs[name]
            if not spec.accepts(array):
                raise InvalidInputError(
                    f"model {self.name}, input {name}: expected {spec}, "
                    f"got {array.dtype.name} {_shape_text(array.shape)}",
                    hint="convert the array; the axis sizes marked n are free",
                )

    def _complete(self, inputs: Mapping[str, NDArray[Any]], optional: Collection[str]) -> bool:
        return self.inputs.keys() - set(optional) <= inputs.keys() <= self.inputs.keys()


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join("n" if size == -1 else str(size) for size in shape) + "]"
