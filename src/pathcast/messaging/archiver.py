"""The archiver: frames topic in, packs of JPEGs in the object store and one row per frame out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.clock import Clock, SystemClock
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_codec import decode_frame
from pathcast.messaging.intake import open_intake
from pathcast.messaging.pack_assembler import OpenPack, PackAssembler, PackLimits
from pathcast.messaging.records import Record
from pathcast.messaging.resume import resume_at_stored_offsets
from pathcast.messaging.service import ServiceSettings
from pathcast.monitoring.metrics import ServiceMetrics
from pathcast.storage.archive import FrameArchive
from pathcast.storage.frame_rows import FrameRow
from pathcast.storage.housekeeping import HousekeepingSettings, housekeeping
from pathcast.storage.positions import StreamPosition, write_offset
from pathcast.storage.writers import write_frames

SERVICE = "archiver"

_FIRST_CLEANING_S = 60.0

_log = logging.getLogger(__name__)


class ArchiverSettings(BaseSettings):
    """How the archiver works, from `PATHCAST_ARCHIVER_*` variables; see `PackLimits` and `housekeeping`."""

    model_config = SettingsConfigDict(env_prefix="PATHCAST_ARCHIVER_", frozen=True, extra="ignore", allow_inf_nan=False)

    pack_seconds: float = Field(4.0, ge=0.001)
    pack_max_bytes: PositiveInt = 64 * 2**20
    flush_s: PositiveFloat = 6.0
    offset_s: PositiveFloat = 1.0
    batch_records: PositiveInt = 64
    housekeeping_s: PositiveFloat = 3600.0

    @property
    def limits(self) -> PackLimits:
        return PackLimits(self.pack_seconds, self.pack_max_bytes, self.flush_s)


class CleaningTimes:
    """When to clean: soon after the process has started, then every `every_s`, however often its worker is rebuilt.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, every_s: float, now_s: float) -> None:
        self._every_s = every_s
        self._due_at_s = now_s + min(every_s, _FIRST_CLEANING_S)

    def take(self, now_s: float) -> bool:
        """Whether it is time, and if so no longer: cleaning that fails is not to be all that a rebuilt worker does."""
        due = now_s >= self._due_at_s
        if due:
            self._due_at_s = now_s + self._every_s
        return due


class ArchiverWorker:
    """Packs the frames of its partitions; a Worker of the service harness.

    First the object, then rows and offset in one transaction. A kill in between leaves an object without
    rows, which the sweep removes. The offset waits for the oldest frame of an open pack, so frames read
    again find their rows in place and change nothing.
    """

    def __init__(
        self,
        platform: PlatformSettings,
        settings: ArchiverSettings,
        service: ServiceSettings,
        metrics: ServiceMetrics,
        cleaning: CleaningTimes,
        clock: Clock | None = None,
    ) -> None:
        """Connect and take up at the stored offsets; ServiceUnavailableError where a server is away.

        All workers of a process share `cleaning`.
        """
        self._topic = platform.frames_topic
        self._settings = settings
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._assembler = PackAssembler(settings.limits)
        self._stored: dict[int, int] = {}
        self._stored_at = time.monotonic()
        metrics.expect_dead_letters(self._topic)
        self._cleans = service.instance.index == 0
        self._cleaning = cleaning
        with ExitStack() as opening:
            intake = opening.enter_context(open_intake(platform, self._topic, SERVICE, service))
            self._connection, self._consumer, self._dead_letters = (
                intake.connection,
                intake.consumer,
                intake.dead_letters,
            )
            self._archive = FrameArchive.connect(platform)
            resume_at_stored_offsets(self._consumer, self._connection, SERVICE)
            self.close = opening.pop_all().close

    def step(self) -> None:
        closed: list[OpenPack] = []
        records = self._consumer.poll(max_records=self._settings.batch_records)
        with self._metrics.stage("decode"):
            for record in records:
                closed += self._take(record)
        closed += self._assembler.take_due(time.monotonic())
        self._store(closed)
        if time.monotonic() - self._stored_at >= self._settings.offset_s:
            self._store_offsets()
        if self._cleans and self._cleaning.take(time.monotonic()):
            self._clean()
        if records:
            self._metrics.lag(records[-1].timestamp_ms, self._clock.now().timestamp())
        elif self._consumer.caught_up():
            self._metrics.caught_up()

    def finish(self) -> None:
        """Store the open packs as they are."""
        self._store(self._assembler.take_all())
        self._store_offsets()

    def _take(self, record: Record) -> Sequence[OpenPack]:
        try:
            frame = decode_frame(record)
        except InvalidInputError as error:
            self._dead_letters.bury(record, error.message)
            self._metrics.dead_lettered(self._topic)
            self._assembler.skip(record)
            return ()
        self._metrics.frames_in(frame.camera_id)
        closed = self._assembler.add(record, frame, time.monotonic())
        return () if closed is None else (closed,)

    def _store(self, packs: Sequence[OpenPack]) -> None:
        rows: dict[int, list[FrameRow]] = {}
        for pack in packs:
            with self._metrics.stage("put"):
                rows.setdefault(pack.partition, []).extend(self._put(pack.frames))
        offsets = self._assembler.next_offsets()
        for partition, stored in rows.items():
            with self._metrics.stage("write"):
                write_frames(self._connection, stored, self._position(partition, offsets[partition]))
            self._stored[partition] = offsets[partition]
            for row in stored:
                self._metrics.frames_out(row.camera_id)

    def _put(self, frames: Sequence[Frame]) -> Sequence[FrameRow]:
        return self._archive.put(frames)

    def _store_offsets(self) -> None:
        """Move past records that left no rows."""
        for partition, offset in self._assembler.next_offsets().items():
            if self._stored.get(partition) != offset:
                write_offset(self._connection, self._position(partition, offset))
                self._stored[partition] = offset
        self._stored_at = time.monotonic()

    def _clean(self) -> None:
        """Drop expired rows and the packs without rows; one instance does it for all."""
        with self._metrics.stage("housekeeping"):
            done = housekeeping(self._connection, self._archive, self._clock.now(), HousekeepingSettings())
        if done.dropped or done.swept:
            _log.info(
                "dropped %s; deleted %d packs without rows", ", ".join(done.dropped) or "nothing", len(done.swept)
            )

    def _position(self, partition: int, next_offset: int) -> StreamPosition:
        return self._consumer.stream_position(SERVICE, partition, next_offset)
