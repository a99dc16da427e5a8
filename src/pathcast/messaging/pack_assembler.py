"""Which frames go into one pack, and how far the offset may move meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from pathcast.core.clock import to_nanoseconds
from pathcast.core.frame import Frame
from pathcast.messaging.records import Record


@dataclass(frozen=True, slots=True)
class PackLimits:
    """A pack ends with its `seconds` of camera time, at `max_bytes`, or `flush_s` after its first frame came."""

    seconds: float = 4.0
    max_bytes: int = 64 * 2**20
    flush_s: float = 6.0


@dataclass(slots=True)
class OpenPack:
    """The frames of one camera in one interval, in the order they came."""

    partition: int
    first_offset: int
    interval: int
    opened_at: float
    frames: list[Frame] = field(default_factory=list)
    n_bytes: int = 0


class PackAssembler:
    """Groups the frames of cameras into packs.

    Intervals are cut on the clock of the frames, not of the reader, so frames that are read again after
    a kill fall into the same packs. Times given as `now` are monotonic seconds.
    """

    def __init__(self, limits: PackLimits) -> None:
        self._limits = limits
        self._interval_ns = round(limits.seconds * 1e9)
        self._open: dict[tuple[int, str], OpenPack] = {}
        self._next_offsets: dict[int, int] = {}

    def add(self, record: Record, frame: Frame, now: float) -> OpenPack | None:
        """Take a frame; return the pack of its camera that it closes, if any.

        A frame that its pack holds already is a repeat and left out.
        """
        self.skip(record)
        interval = to_nanoseconds(frame.captured_at) // self._interval_ns
        key = (record.partition, frame.camera_id)
        pack = self._open.get(key)
        closed = None
        if pack is not None and (pack.interval != interval or pack.n_bytes >= self._limits.max_bytes):
            closed, pack = self._open.pop(key), None
        if pack is None:
            pack = self._open[key] = OpenPack(record.partition, record.offset, interval, now)
        if all(frame.captured_at != held.captured_at for held in pack.frames):
            pack.frames.append(frame)
            pack.n_bytes += len(frame.jpeg)
        return closed

    def skip(self, record: Record) -> None:
        """Note a record that needs no pack."""
        self._next_offsets[record.partition] = record.offset + 1

    def take_due(self, now: float) -> list[OpenPack]:
        """Close the packs that have been open for too long: their camera is slow or has stopped."""
        due = [key for key, pack in self._open.items() if now - pack.opened_at >= self._limits.flush_s]
        return [self._open.pop(key) for key in due]

    def take_all(self) -> list[OpenPack]:
        """Close every pack."""
        packs = list(self._open.values())
        self._open.clear()
        return packs

    def next_offsets(self) -> dict[int, int]:
        """By partition, where a reader has to take up so that no frame of an open pack is missed."""
        offsets = dict(self._next_offsets)
        for pack in self._open.values():
            offsets[pack.partition] = min(offsets[pack.partition], pack.first_offset)
        return offsets
