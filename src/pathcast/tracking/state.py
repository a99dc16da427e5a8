"""A tracker's memory as bytes: msgpack around the raw arrays, exact to the bit."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from pathcast.core import InvalidInputError
from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.tracking.settings import TrackerSettings

NO_FRAME = -1
_REAL, _WHOLE = np.dtype("<f8"), np.dtype("<i8")


class TrackerState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is written: `reals` and `wholes` hold the two track tables, track by track, little-endian."""

    version: Literal[1]
    settings: TrackerSettings
    next_id: int
    now_us: int
    sway: tuple[float, float]
    tracks: int
    reals: bytes
    wholes: bytes


def pack(
    settings: TrackerSettings,
    next_id: int,
    now_us: int,
    sway: Float64Array,
    reals: Float64Array,
    wholes: Int64Array,
) -> bytes:
    """The bytes of a tracker; about 250 a track."""
    return msgspec.msgpack.encode(
        TrackerState(
            1,
            settings,
            next_id,
            now_us,
            (float(sway[0]), float(sway[1])),
            reals.shape[1],
            np.ascontiguousarray(reals.T, dtype=_REAL).tobytes(),
            np.ascontiguousarray(wholes.T, dtype=_WHOLE).tobytes(),
        )
    )


def unpack(data: bytes, real_rows: int, whole_rows: int) -> tuple[TrackerState, Float64Array, Int64Array]:
    """The state and its two tables, writeable; raises InvalidInputError where the bytes are not a whole state."""
    try:
        state = msgspec.msgpack.decode(data, type=TrackerState)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"tracker state: expected version 1 of it, got {len(data)} other bytes ({error})",
            hint="start with a fresh Tracker; identities start anew",
        ) from error
    expected = (8 * state.tracks * real_rows, 8 * state.tracks * whole_rows)
    if state.tracks < 0 or expected != (len(state.reals), len(state.wholes)):
        raise InvalidInputError(
            f"tracker state: {state.tracks} tracks take {expected} bytes, got {(len(state.reals), len(state.wholes))}"
        )
    reals = np.frombuffer(state.reals, _REAL).reshape(-1, real_rows).T.astype(np.float64, order="C")
    wholes = np.frombuffer(state.wholes, _WHOLE).reshape(-1, whole_rows).T.astype(np.int64, order="C")
    if (
        not np.isfinite(reals).all()
        or not np.isfinite(state.sway).all()
        or state.next_id < 1
        or state.now_us < NO_FRAME
    ):
        raise InvalidInputError("tracker state: holds numbers that no tracker has")
    return state, reals, wholes
