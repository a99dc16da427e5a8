"""Frames topic: the value is the JPEG, everything else stands in the headers.

Headers, all ASCII, each exactly once: `schema_version` (1), `camera_id` (equal to the key),
`captured_at` (nanoseconds UTC since the Unix epoch), `sequence`, `width`, `height` (pixels) and,
optional, `traceparent`. Other headers are ignored.
"""

from __future__ import annotations

import re

from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame
from pathcast.messaging.jpeg import jpeg_size
from pathcast.messaging.records import MAX_VALUE_BYTES, OutgoingRecord, Record, checked, single_headers, sized_value
from pathcast.messaging.trace import check_traceparent

FRAME_SCHEMA_VERSION = 1

MAX_PIXELS = 64_000_000
"""A JPEG of a few kB may claim 32000x32000 pixels, which would take 3 GB to decode; an 8K frame has 33 million."""

MAX_AHEAD_MS = 86_400_000
"""How far `captured_at` may lie ahead of the record. A frame of a wrong clock would make all later ones late."""

_HEADERS = ("schema_version", "camera_id", "captured_at", "sequence", "width", "height", "traceparent")
_COUNT = re.compile(r"0|[1-9][0-9]{0,18}")
_INT64_MAX = 2**63 - 1  # as nanoseconds since 1970: the year 2262


def encode_frame(frame: Frame) -> OutgoingRecord:
    """The record of a frame."""
    fields = {
        "schema_version": str(FRAME_SCHEMA_VERSION),
        "camera_id": frame.camera_id,
        "captured_at": str(to_nanoseconds(frame.captured_at)),
        "sequence": str(frame.sequence),
        "width": str(frame.width),
        "height": str(frame.height),
    }
    if frame.traceparent:
        fields["traceparent"] = frame.traceparent
    headers = tuple((name, text.encode("ascii")) for name, text in fields.items())
    return OutgoingRecord(frame.camera_id.encode("ascii"), frame.jpeg, headers)


def decode_frame(record: Record, *, max_bytes: int = MAX_VALUE_BYTES) -> Frame:
    """The frame of a record, checked in full except for the JPEG's pixels.

    Raises InvalidInputError with the reason: a header missing, repeated or malformed; an unknown schema
    version; a key that is not the camera; an empty value or one over `max_bytes`; a value that is no
    JPEG, is cut off, or is of another size than the headers say; more than `MAX_PIXELS`; a time further
    ahead of the record's own (where it has one) than `MAX_AHEAD_MS`.
    """
    texts = single_headers(checked(record), _HEADERS, optional="traceparent")
    version = texts["schema_version"]
    if version != str(FRAME_SCHEMA_VERSION):
        raise InvalidInputError(f"schema_version: expected {FRAME_SCHEMA_VERSION}, got {version!r:.80}")
    camera_id = texts["camera_id"]
    if record.key != camera_id.encode("ascii"):
        raise InvalidInputError(f"key: expected the header's camera {camera_id!r:.80}, got {record.key!r:.80}")
    nanoseconds = _count("captured_at", texts["captured_at"], _INT64_MAX)
    ahead_ms = nanoseconds // 1_000_000 - record.timestamp_ms
    if record.timestamp_ms >= 0 and ahead_ms > MAX_AHEAD_MS:
        raise InvalidInputError(
            f"captured_at: expected at most a day after the record's own time, got {ahead_ms / 1_000:.0f} s after it",
            hint="set the camera host's clock",
        )
    sequence = _count("sequence", texts["sequence"], _INT64_MAX)
    width = _count("width", texts["width"], 2**16 - 1)
    height = _count("height", texts["height"], 2**16 - 1)
    check_size(width, height)
    traceparent = texts.get("traceparent", "")
    if traceparent:
        check_traceparent(traceparent)
    jpeg = sized_value(record.value, max_bytes)
    if (size := jpeg_size(jpeg)) != (width, height):
        raise InvalidInputError(f"JPEG: expected the headers' {width}x{height} pixels, got {size[0]}x{size[1]}")
    return Frame(camera_id, sequence, from_nanoseconds(nanoseconds), width, height, jpeg, traceparent)


def check_size(width: int, height: int) -> None:
    """Raise InvalidInputError for more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise InvalidInputError(f"size: expected at most {MAX_PIXELS} pixels, got {width}x{height}")


def _count(name: str, text: str, largest: int) -> int:
    if not _COUNT.fullmatch(text) or int(text) > largest:
        raise InvalidInputError(f"header {name}: expected a whole number of at most {largest}, got {text!r:.80}")
    return int(text)
