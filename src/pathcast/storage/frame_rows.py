"""The row of one archived frame, and what is archived of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class FrameRow:
    """Where the archive keeps one frame; (camera_id, captured_at) is its natural key.

    The JPEG is the bytes [pack_offset, pack_offset + byte_length) of the object `pack_key`; `sha256`
    (32 bytes) is the JPEG's.
    """

    camera_id: str
    captured_at: datetime
    sequence: int
    width: int
    height: int
    pack_key: str
    pack_offset: int
    byte_length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """A camera's archived frames in a span of time: the first, the last, and how many."""

    camera_id: str
    first: datetime
    last: datetime
    frames: int
