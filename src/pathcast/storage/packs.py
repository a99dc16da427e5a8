"""Frame packs: a few seconds of one camera's frames in one object.

Layout, integers big-endian: the 4 bytes `PCPK`, uint16 version (1), uint32 length of the index, the
index, then the JPEGs back to back in the order of the index. The index is a msgpack array
[camera_id, [[sequence, captured_at in ns since the epoch, width, height, byte length, sha256], …]], so
that lost rows can be told from the object alone. The same frames always make the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame
from pathcast.storage.frame_rows import FrameRow

_MAGIC, _VERSION = b"PCPK", 1
_HEADER = struct.Struct(">4sHI")


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    sequence: int
    captured_at_ns: int
    width: int
    height: int
    byte_length: int
    sha256: bytes


class _Index(msgspec.Struct, array_like=True, frozen=True):
    camera_id: str
    entries: list[_Entry]


@dataclass(frozen=True, slots=True)
class Pack:
    """A finished pack: the object's `key` and `data`, and the rows that point into it."""

    key: str
    data: bytes
    rows: tuple[FrameRow, ...]


def build_pack(frames: Sequence[Frame]) -> Pack:
    """Pack `frames` of one camera, in their order; raises InvalidInputError for none, or for several cameras.

    The key is `<camera>/<yyyy>/<mm>/<dd>/<HHMMSS>-<first sequence>-<digest>.pack`, time and sequence those
    of the first frame. The digest is the content's, so a retry writes the same object again, and a
    process that was taken for dead cannot replace the object of its successor with a shorter one.
    """
    if not frames:
        raise InvalidInputError("a pack needs at least one frame")
    first = frames[0]
    cameras = {frame.camera_id for frame in frames}
    if len(cameras) > 1:
        raise InvalidInputError(f"a pack holds the frames of one camera, got {sorted(cameras)}")
    digests = [hashlib.sha256(frame.jpeg).digest() for frame in frames]
    entries = [
        _Entry(frame.sequence, to_nanoseconds(frame.captured_at), frame.width, frame.height, len(frame.jpeg), digest)
        for frame, digest in zip(frames, digests, strict=True)
    ]
    index = msgspec.msgpack.encode(_Index(first.camera_id, entries))
    header = _HEADER.pack(_MAGIC, _VERSION, len(index)) + index
    digest = hashlib.sha256(header).hexdigest()[:12]
    key = f"{first.camera_id}/{first.captured_at:%Y/%m/%d/%H%M%S}-{first.sequence}-{digest}.pack"
    data = b"".join([header, *(frame.jpeg for frame in frames)])
    return Pack(key, data, tuple(_rows(key, len(header), first.camera_id, entries)))


def unpack(data: bytes) -> list[Frame]:
    """The frames of a pack, hashes checked; the trace context is not kept.

    Raises InvalidInputError on a damaged or truncated pack, or on another version.
    """
    index, position = _read_index(data)
    frames = []
    for row in _rows("", position, index.camera_id, index.entries):
        jpeg = data[row.pack_offset : row.pack_offset + row.byte_length]
        frames.append(checked_frame(row, jpeg))
    return frames


def rows_of(key: str, data: bytes) -> list[FrameRow]:
    """The rows that point into the object `key` with these bytes (its beginning is enough)."""
    index, position = _read_index(data)
    return _rows(key, position, index.camera_id, index.entries)


def checked_frame(row: FrameRow, jpeg: bytes) -> Frame:
    """The frame of `row`; raises InvalidInputError when `jpeg` is not what was archived."""
    if len(jpeg) != row.byte_length or hashlib.sha256(jpeg).digest() != row.sha256:
        raise InvalidInputError(
            f"archived frame {row.sequence} of {row.camera_id} in {row.pack_key or 'a pack'}: expected "
            f"{row.byte_length} bytes with sha256 {row.sha256.hex()[:12]}…, got {len(jpeg)} bytes that differ"
        )
    return Frame(row.camera_id, row.sequence, row.captured_at, row.width, row.height, jpeg)


def _rows(key: str, position: int, camera_id: str, entries: list[_Entry]) -> list[FrameRow]:
    rows = []
    for entry in entries:
        captured_at = from_nanoseconds(entry.captured_at_ns)
        rows.append(
            FrameRow(
                camera_id,
                captured_at,
                entry.sequence,
                entry.width,
                entry.height,
                key,
                position,
                entry.byte_length,
                entry.sha256,
            )
        )
        position += entry.byte_length
    return rows


def _read_index(data: bytes) -> tuple[_Index, int]:
    try:
        magic, version, length = _HEADER.unpack_from(data)
    except struct.error as error:
        raise InvalidInputError(f"pack: expected {_HEADER.size} bytes of header, got {len(data)}") from error
    if (magic, version) != (_MAGIC, _VERSION):
        raise InvalidInputError(f"pack: expected {_MAGIC!r} version {_VERSION}, got {magic!r} version {version}")
    end = _HEADER.size + length
    try:
        return msgspec.msgpack.decode(data[_HEADER.size : end], type=_Index), end
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"pack: its index is not readable: {error}") from error
