"""State as bytes: named arrays and plain values, exact, versioned, without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError


class _PackedArray(msgspec.Struct, array_like=True, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _PackedState(msgspec.Struct, array_like=True, frozen=True):
    kind: str
    version: int
    values: dict[str, Any]
    arrays: dict[str, _PackedArray]


_ALLOWED_KINDS = frozenset("biuf")


def encode_state(kind: str, version: int, values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Pack plain `values` (numbers, strings, bytes, lists of them) and numeric `arrays`, always to the same bytes."""
    packed = {
        name: _PackedArray(array.dtype.newbyteorder("<").str, array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in arrays.items()
    }
    return msgspec.msgpack.encode(_PackedState(kind, version, dict(values), packed))


def decode_state(data: bytes, kind: str, version: int) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Undo `encode_state`. Raises InvalidInputError on damaged bytes, or on another kind or version."""
    try:
        state = msgspec.msgpack.decode(data, type=_PackedState)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{kind} state: not readable: {error}") from error
    if (state.kind, state.version) != (kind, version):
        raise InvalidInputError(f"state: expected {kind} version {version}, got {state.kind} version {state.version}")
    return state.values, {name: _unpack(kind, name, packed) for name, packed in state.arrays.items()}


def _unpack(kind: str, name: str, packed: _PackedArray) -> npt.NDArray[Any]:
    try:
        dtype = np.dtype(packed.dtype)
        if dtype.kind not in _ALLOWED_KINDS:
            raise ValueError(f"dtype {dtype} is not numeric")
        return np.frombuffer(packed.data, dtype=dtype).reshape(packed.shape).copy()
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{kind} state: array {name!r}: {error}") from error
