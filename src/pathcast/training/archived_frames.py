"""Frames of the platform's own archive, by camera and time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import decode_image
from pathcast.storage.archive import FrameArchive
from pathcast.storage.frame_rows import FrameRow, FrameSpan
from pathcast.storage.reads import read_frame_rows, read_frame_spans
from pathcast.training.labelling import RecordedFrame

STRETCH = 50
"""Frames in a row, where not all are taken: a teacher keeps what a tracker sees for a while."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ArchiveSpan:
    """since ≤ captured_at < until, aware UTC; no `cameras` are all."""

    cameras: tuple[str, ...]
    since: datetime
    until: datetime

    @classmethod
    def last_days(cls, cameras: tuple[str, ...], days: float, now: datetime) -> ArchiveSpan:
        """The `days` before `now`."""
        if not 0 < days < 36_500:
            raise InvalidInputError(f"days: expected a number above 0, got {days}")
        return cls(cameras, now - timedelta(days=days), now)

    def find(self, connection: psycopg.Connection) -> list[FrameSpan]:
        """What is archived of each camera; InvalidInputError, naming the known ones, where one has nothing."""
        found = {each.camera_id: each for each in read_frame_spans(connection, self.since, self.until)}
        missing = [camera for camera in self.cameras if camera not in found]
        if missing or not found:
            raise InvalidInputError(
                f"archive: expected frames of {', '.join(missing) or 'any camera'} from {self.since.isoformat()} to "
                f"{self.until.isoformat()}, found none; cameras with frames: {', '.join(found) or 'none'}",
                hint="widen the time range, or see whether the archiver runs: pathcast status",
            )
        return [found[camera] for camera in self.cameras or found]


def choose_rows(connection: psycopg.Connection, span: FrameSpan, most: int) -> Iterator[FrameRow]:
    """All frames of a camera's span or, of more than `most`, stretches in a row spread evenly over its time."""
    after = span.last + _MICROSECOND
    if span.frames <= most:
        yield from read_frame_rows(connection, span.camera_id, span.first, after)
        return
    count = max(most // STRETCH, 1)
    step, begin = (span.last - span.first) / count, span.first
    for number in range(count):
        begin = max(begin, span.first + number * step)
        rows = read_frame_rows(connection, span.camera_id, begin, after, limit=min(STRETCH, most))
        yield from rows
        if rows:
            begin = rows[-1].captured_at + _MICROSECOND


def read_frames(
    archive: FrameArchive, rows: Iterable[FrameRow], root: Path, folder: str, every: int
) -> Iterator[RecordedFrame]:
    """The frames, named `folder`/CAMERA_TIME.jpg; every `every`-th is a file below `root`, its bytes as archived."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        frame = archive.read(row)
        name = f"{folder}/{row.camera_id}_{frame.captured_at.strftime('%Y%m%dT%H%M%S.%fZ')}.jpg"
        if number % every == 0:
            (root / name).write_bytes(frame.jpeg)
        yield RecordedFrame(name, frame.captured_at, _decoded(name, frame.jpeg))


def _decoded(name: str, jpeg: bytes) -> UInt8Array:
    pixels = decode_image(jpeg)
    if pixels is None:
        raise InvalidInputError(f"{name}: the archived frame is not a readable JPEG")
    return pixels
