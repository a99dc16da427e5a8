"""A tracker's memory as bytes: msgpack around the raw arrays, exact to the bit."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from pathcast.core import InvalidInputError
from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from pathcast.tracking.settings import TrackerSettings

NO_FRAME = -1
_REAL, _WHOLE, _LOOK = np.dtype("<f8"), np.dtype("<i8"), np.dtype("<f4")
_QUICK = 1


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """All that a tracker remembers: the track tables (rows, n), appearance (n, d), and the last picture (h, w)."""

    settings: TrackerSettings
    next_id: int
    now_us: int
    sway: Float64Array
    reals: Float64Array
    wholes: Int64Array
    looks: Float32Array
    picture: UInt8Array | None


class _State(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is written: the tables track by track, little-endian; the picture compressed, without loss."""

    version: Literal[1]
    settings: TrackerSettings
    next_id: int
    now_us: int
    sway: tuple[float, float]
    tracks: int
    reals: bytes
    wholes: bytes
    look_size: int = 0
    looks: bytes = b""
    picture_size: tuple[int, int] = (0, 0)
    picture: bytes = b""


def pack(memory: Memory) -> bytes:
    """The bytes of a tracker; about 250 a track, and four for each number of an embedding."""
    picture = memory.picture
    return msgspec.msgpack.encode(
        _State(
            1,
            memory.settings,
            memory.next_id,
            memory.now_us,
            (float(memory.sway[0]), float(memory.sway[1])),
            memory.reals.shape[1],
            np.ascontiguousarray(memory.reals.T, dtype=_REAL).tobytes(),
            np.ascontiguousarray(memory.wholes.T, dtype=_WHOLE).tobytes(),
            memory.looks.shape[1],
            np.ascontiguousarray(memory.looks, dtype=_LOOK).tobytes(),
            (0, 0) if picture is None else (picture.shape[0], picture.shape[1]),
            b"" if picture is None else zlib.compress(picture.tobytes(), _QUICK),
        )
    )


def unpack(data: bytes, real_rows: int, whole_rows: int) -> Memory:
    """The memory, its arrays writeable; raises InvalidInputError where the bytes are not a whole state."""
    try:
        state = msgspec.msgpack.decode(data, type=_State)
        pixels = zlib.decompress(state.picture) if state.picture else b""
    except (msgspec.MsgspecError, UnicodeDecodeError, zlib.error) as error:
        raise InvalidInputError(
            f"tracker state: expected version 1 of it, got {len(data)} other bytes ({error})",
            hint="start with a fresh Tracker; identities start anew",
        ) from error
    height, width = state.picture_size
    expected = (
        8 * state.tracks * real_rows,
        8 * state.tracks * whole_rows,
        4 * state.tracks * state.look_size,
        height * width,
    )
    given = (len(state.reals), len(state.wholes), len(state.looks), len(pixels))
    if min(state.tracks, state.look_size, height, width) < 0 or expected != given:
        raise InvalidInputError(f"tracker state: {state.tracks} tracks take {expected} bytes, got {given}")
    reals = np.frombuffer(state.reals, _REAL).reshape(-1, real_rows).T.astype(np.float64, order="C")
    wholes = np.frombuffer(state.wholes, _WHOLE).reshape(-1, whole_rows).T.astype(np.int64, order="C")
    looks = np.frombuffer(state.looks, _LOOK).reshape(state.tracks, state.look_size).astype(np.float32)
    finite = all(np.isfinite(values).all() for values in (reals, looks, state.sway))
    if not finite or state.next_id < 1 or state.now_us < NO_FRAME:
        raise InvalidInputError("tracker state: holds numbers that no tracker has")
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width).copy() if pixels else None
    return Memory(state.settings, state.next_id, state.now_us, np.array(state.sway), reals, wholes, looks, picture)
