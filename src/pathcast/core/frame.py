"""One camera frame, as it crosses the platform."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from pathcast.core.errors import InvalidInputError

_NO_OFFSET = timedelta(0)
_CAMERA_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_camera_id(camera_id: str) -> str:
    """Return `camera_id` if it is 1-63 characters of a-z, 0-9, `-`, `_`, starting with a letter or digit.

    The id becomes a Kafka key, an object-store prefix and a metric label, so it is kept this narrow.
    """
    if not _CAMERA_ID.fullmatch(camera_id):
        raise InvalidInputError(
            f"camera id {camera_id!r}: expected 1-63 characters of a-z, 0-9, '-' and '_'",
            hint="choose an id such as 'gate-1'",
        )
    return camera_id


def check_utc(name: str, moment: datetime) -> datetime:
    """Return `moment` if it is aware and in UTC."""
    if moment.utcoffset() != _NO_OFFSET:
        raise InvalidInputError(
            f"{name}: expected an aware UTC time, got {moment!r}", hint="datetime.now(UTC), or .astimezone(UTC)"
        )
    return moment


@dataclass(frozen=True, slots=True)
class Frame:
    """A JPEG image with its identity; (camera_id, captured_at) is its natural key.

    `sequence` counts the frames of one camera without gaps, from 0 at the start of a stream.
    `width` and `height` are the image's pixels. `traceparent` is a W3C trace context header.
    """

    camera_id: str
    sequence: int
    captured_at: datetime
    width: int
    height: int
    jpeg: bytes
    traceparent: str = ""

    def __post_init__(self) -> None:
        check_camera_id(self.camera_id)
        check_utc("captured_at", self.captured_at)
        if self.sequence < 0:
            raise InvalidInputError(f"sequence: expected 0 or more, got {self.sequence}")
        if self.width <= 0 or self.height <= 0:
            raise InvalidInputError(f"frame size: expected positive width and height, got {self.width}x{self.height}")
