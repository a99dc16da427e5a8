"""Reading partitions from offsets that the database keeps; no consumer groups."""

from __future__ import annotations

import logging
import struct
import time
import zlib
from collections.abc import Mapping
from functools import partial
from gzip import BadGzipFile
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CorruptRecordError, KafkaError, OffsetOutOfRangeError, UnsupportedCodecError
from snappy import UncompressError
from zstandard import ZstdError

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging.records import Record
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.topics import MAX_RECORD_BYTES, Instance
from pathcast.storage.positions import StreamPosition

_log = logging.getLogger(__name__)

_PROBE_S = 10.0
_UNREADABLE = (
    CorruptRecordError,
    UnsupportedCodecError,
    # What decompressing damaged records raises, which the client passes on: three of gzip, LZ4's, two of Snappy, and
    # Zstandard's.
    BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    UncompressError,
    struct.error,
    ZstdError,
)


class PartitionConsumer:
    """The records of one instance's partitions, in order per partition.

    Who reads what is fixed by `Instance`, so two processes never share a partition and there is nothing
    to rebalance. After construction call `seek` with the stored offsets, then `poll`.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        client_id: str,
        security: KafkaSecurity | None = None,
        instance: Instance | None = None,
        connect_timeout_s: float = 30.0,
        check_s: float = 10.0,
    ) -> None:
        """Connect and take the instance's partitions.

        Raises ServiceUnavailableError where the broker does not answer or the topic does not exist yet.
        """
        self._bootstrap = bootstrap
        self.topic = topic
        self._check_s = check_s
        self._checked_at = time.monotonic()
        self._last_check: dict[TopicPartition, tuple[int, int]] = {}
        self._connect = partial(
            KafkaConsumer,
            bootstrap_servers=bootstrap,
            client_id=client_id,
            **(security or KafkaSecurity()).options(),
            group_id=None,
            enable_auto_commit=False,
            # `seek` says from where on, and tells of records that were removed unread; so it is asked again.
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            # Every request names its partitions, so nothing hangs on what a broker remembers of the last one.
            enable_incremental_fetch_sessions=False,
            # One record over the limit must still arrive, to be dead-lettered rather than to block.
            max_partition_fetch_bytes=2 * MAX_RECORD_BYTES,
            fetch_max_bytes=4 * MAX_RECORD_BYTES,
            request_timeout_ms=10_000,
            bootstrap_timeout_ms=int(connect_timeout_s * 1_000),
            reconnect_backoff_max_ms=1_000,
        )
        try:
            self._consumer: Any = self._connect()
        except KafkaError as error:
            raise ServiceUnavailableError(
                f"Kafka at {bootstrap}: no answer within {connect_timeout_s:g} s: {error}",
                hint="`pathcast status` shows whether the broker runs",
            ) from error
        try:
            known = self._consumer.partitions_for_topic(topic)
            if not known:
                raise ServiceUnavailableError(f"Kafka at {bootstrap}: topic {topic} does not exist")
            self.partitions = (instance or Instance()).partitions(len(known))
            self.topic_id = self._current_topic_id()
            self._consumer.assign([TopicPartition(topic, partition) for partition in self.partitions])
        except KafkaError as error:
            self._consumer.close()
            raise self._unavailable(error) from error
        except ServiceUnavailableError:
            self._consumer.close()
            raise

    def seek(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Start each partition at its stored next offset, or at its beginning; return where each starts.

        A start that differs from the stored offset is logged and means one of two things. Before the
        beginning: retention has removed records that were never read; reading goes on at the oldest one.
        Behind the end: the topic was made anew; reading starts at its beginning (rows have natural keys,
        so replaying is harmless), and the stored offset is to be moved back.
        """
        topics = {partition: TopicPartition(self.topic, partition) for partition in self.partitions}
        starts: dict[int, int] = {}
        try:
            first = self._consumer.beginning_offsets(list(topics.values()))
            end = self._consumer.end_offsets(list(topics.values()))
            for partition, key in topics.items():
                stored = offsets.get(partition, first[key])
                start = stored
                if stored < first[key]:
                    start = first[key]
                    _log.warning(
                        "%s[%d]: offsets %d to %d were removed before they were read",
                        self.topic,
                        partition,
                        stored,
                        start - 1,
                    )
                # Some brokers report an old end, so the record before the stored offset decides.
                elif stored > end[key] and not self._readable(key, stored - 1):
                    start = first[key]
                    _log.warning(
                        "%s[%d]: stored offset %d is behind the end %d: the topic was made anew, starting at %d",
                        self.topic,
                        partition,
                        stored,
                        end[key],
                        start,
                    )
                starts[partition] = start
            for partition, key in topics.items():
                self._consumer.seek(key, starts[partition])
            self._last_check = {}
        except KafkaError as error:
            raise self._unavailable(error) from error
        return starts

    def stream_position(self, service: str, partition: int, next_offset: int) -> StreamPosition:
        """That `service` has processed what is before `next_offset` in the partition of this topic."""
        return StreamPosition(service, self.topic, partition, next_offset, self.topic_id)

    def poll(self, timeout_s: float = 0.5, *, max_records: int = 64) -> list[Record]:
        """Up to `max_records` records, in order per partition; empty when none came in time.

        A record that the client cannot decode comes with its `fault`. A broker that is away is waited for.
        From time to time, when the client has nothing left, it is asked how far each partition goes;
        ServiceUnavailableError is raised if it does not answer, or if records that were there the last time have not
        come since. It is raised, too, once the topic has been made anew, where offsets mean other records.
        """
        if not self.partitions:
            time.sleep(timeout_s)
            return []
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1_000), max_records=max_records)
            # After a full poll partitions may wait for each other in the client's own buffer.
            drained = sum(map(len, fetched.values())) < max_records
            if drained and time.monotonic() - self._checked_at > self._check_s:
                self._check_progress(fetched)
            if self._current_topic_id() not in (None, self.topic_id):
                raise self._unavailable("the topic was made anew")
        except _UNREADABLE as error:
            _log.warning("%s: a record cannot be read: %s", self.topic, error)
            return self._pass_unreadable()
        except KafkaError as error:
            raise self._unavailable(error) from error
        return [_record(raw) for records in fetched.values() for raw in records]

    def caught_up(self) -> bool:
        """Whether every record that the broker told of in its last answers has been polled."""
        keys = [TopicPartition(self.topic, partition) for partition in self.partitions]
        ends = [(key, self._consumer.highwater(key)) for key in keys]
        return all(end is not None and self._consumer.position(key) >= end for key, end in ends)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _current_topic_id(self) -> UUID | None:
        """The topic's id by the client's newest metadata, which it tells nowhere else without one more connection."""
        known: UUID | None = self._consumer._client.cluster.topic_id(self.topic)
        return known

    def _check_progress(self, fetched: Mapping[TopicPartition, object]) -> None:
        """A client can stop asking for a partition, or a broker stop answering for it; only a new one helps."""
        ends = self._consumer.end_offsets(list(self._consumer.assignment()), timeout_ms=10_000)
        now = {key: (self._consumer.position(key), end) for key, end in ends.items()}
        for key, (position, end) in self._last_check.items():
            if position < end and now[key][0] == position and key not in fetched:
                raise self._unavailable(f"records from {position} on are in partition {key.partition}, but do not come")
        self._last_check = now
        self._checked_at = time.monotonic()

    def _pass_unreadable(self) -> list[Record]:
        """The record that the client refuses, without saying of which partition: twice, so the record is at fault.

        The client reads a batch, which is of one producer, from its beginning: what follows in it goes the same way.
        """
        for key in sorted(self._consumer.assignment()):
            offset = self._consumer.position(key)
            try:
                self._probe(key, offset, timeout_s=1.0)
            except _UNREADABLE as error:
                self._consumer.seek(key, offset + 1)
                fault = f"record: not in Kafka's format: {error}"
                return [Record(key.topic, key.partition, offset, -1, None, None, (), fault)]
        return []

    def _readable(self, key: TopicPartition, offset: int) -> bool:
        return any(raw.offset == offset for raw in self._probe(key, offset, timeout_s=_PROBE_S))

    def _probe(self, key: TopicPartition, offset: int, timeout_s: float) -> list[Any]:
        """The record there, if any; asked by a client of its own, which leaves no trace in ours."""
        probe: Any = self._connect()
        try:
            probe.assign([key])
            probe.seek(key, offset)
            fetched: list[Any] = probe.poll(timeout_ms=int(timeout_s * 1_000), max_records=1).get(key, [])
            return fetched
        except OffsetOutOfRangeError:
            return []
        finally:
            probe.close(autocommit=False)

    def _unavailable(self, error: object) -> ServiceUnavailableError:
        return ServiceUnavailableError(f"Kafka at {self._bootstrap}: reading {self.topic} failed: {error}")


def _record(raw: Any) -> Record:
    timestamp_ms = -1 if raw.timestamp is None else raw.timestamp
    return Record(raw.topic, raw.partition, raw.offset, timestamp_ms, raw.key, raw.value, tuple(raw.headers))
