"""The recorder: observations topic in, rows out, effectively exactly once."""

from __future__ import annotations

import time
from contextlib import ExitStack

import psycopg
from pydantic import PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.clock import Clock, SystemClock
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.observation import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.intake import open_intake
from pathcast.messaging.observation_codec import read_observation
from pathcast.messaging.records import Record
from pathcast.messaging.resume import resume_at_stored_offsets
from pathcast.messaging.service import ServiceSettings
from pathcast.monitoring.metrics import ServiceMetrics
from pathcast.monitoring.store import read_latest_findings
from pathcast.storage.positions import write_offset
from pathcast.storage.writers import write_observations

SERVICE = "recorder"
DRIFT_EVERY_S = 60.0

# Values that no column takes; numpy refuses some of them before the database can.
_REFUSED_VALUES = (psycopg.DataError, psycopg.IntegrityError)


class RecorderSettings(BaseSettings):
    """How the recorder works, from `PATHCAST_RECORDER_*` variables.

    Rows are written when `batch_records` records of a partition have come, or `flush_s` after the first.
    """

    model_config = SettingsConfigDict(env_prefix="PATHCAST_RECORDER_", frozen=True, extra="ignore", allow_inf_nan=False)

    batch_records: PositiveInt = 256
    flush_s: PositiveFloat = 0.5


class RecorderWorker:
    """Writes the observations of its partitions; a Worker of the service harness.

    Rows and the offset behind them are one transaction, and a row that is there already stays as it is,
    so records read again after a kill, or sent again by a producer, change nothing. Instance 0 also shows the newest
    drift findings on its metrics page: the check itself does not live long enough to be asked.
    """

    def __init__(
        self,
        platform: PlatformSettings,
        settings: RecorderSettings,
        service: ServiceSettings,
        metrics: ServiceMetrics,
        clock: Clock | None = None,
    ) -> None:
        """Connect and take up at the stored offsets; ServiceUnavailableError where a server is away."""
        self._topic = platform.observations_topic
        self._settings = settings
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._waiting: dict[int, list[Record]] = {}
        self._waiting_since = 0.0
        metrics.expect_dead_letters(self._topic)
        self._shows_drift = service.instance_index == 0
        self._drift_shown_at = -DRIFT_EVERY_S
        with ExitStack() as opening:
            intake = opening.enter_context(open_intake(platform, self._topic, SERVICE, service))
            self._connection, self._consumer, self._dead_letters = (
                intake.connection,
                intake.consumer,
                intake.dead_letters,
            )
            resume_at_stored_offsets(self._consumer, self._connection, SERVICE)
            self.close = opening.pop_all().close

    def step(self) -> None:
        records = self._consumer.poll(self._settings.flush_s, max_records=self._settings.batch_records)
        if records and not self._waiting:
            self._waiting_since = time.monotonic()
        for record in records:
            self._waiting.setdefault(record.partition, []).append(record)
        full = any(len(waiting) >= self._settings.batch_records for waiting in self._waiting.values())
        if full or time.monotonic() - self._waiting_since >= self._settings.flush_s:
            self.finish()
        if not self._waiting and not records and self._consumer.caught_up():
            self._metrics.caught_up()
        if self._shows_drift and time.monotonic() - self._drift_shown_at >= DRIFT_EVERY_S:
            self._metrics.drift(read_latest_findings(self._connection))
            self._drift_shown_at = time.monotonic()

    def finish(self) -> None:
        """Write what has been read."""
        for partition in list(self._waiting):
            self._write(self._waiting[partition])
            del self._waiting[partition]

    def _write(self, records: list[Record]) -> None:
        with self._metrics.stage("decode"):
            readable = [(record, observation) for record in records if (observation := self._decoded(record))]
        observations = [observation for _, observation in readable]
        with self._metrics.stage("write"):
            try:
                self._write_rows(observations, records[-1])
            except (PathcastError, ValueError, OverflowError) as error:
                if not _is_refusal(error):
                    raise
                self._write_singly(readable, records[-1])
        for observation in observations:
            self._metrics.frames_out(observation.camera_id)
        self._metrics.lag(records[-1].timestamp_ms, self._clock.now().timestamp())

    def _decoded(self, record: Record) -> Observation | None:
        try:
            observation = read_observation(record)
        except InvalidInputError as error:
            self._bury(record, error.message)
            return None
        self._metrics.frames_in(observation.camera_id)
        return observation

    def _write_rows(self, observations: list[Observation], last: Record) -> None:
        position = self._consumer.stream_position(SERVICE, last.partition, last.offset + 1)
        if observations:
            write_observations(self._connection, observations, position)
        else:
            write_offset(self._connection, position)

    def _write_singly(self, readable: list[tuple[Record, Observation]], last: Record) -> None:
        """Find the observation that the database refuses, and keep the others."""
        for record, observation in readable:
            try:
                self._write_rows([observation], record)
            except (PathcastError, ValueError, OverflowError) as error:
                if not _is_refusal(error):
                    raise
                self._bury(record, str(error))
        self._write_rows([], last)

    def _bury(self, record: Record, reason: str) -> None:
        self._dead_letters.bury(record, reason)
        self._metrics.dead_lettered(self._topic)


def _is_refusal(error: Exception) -> bool:
    """Whether the values are at fault, rather than the server or the schema."""
    if isinstance(error, ServiceUnavailableError):
        return False
    if isinstance(error, InvalidInputError) or not isinstance(error, PathcastError):
        return True
    return isinstance(error.__cause__, _REFUSED_VALUES)
