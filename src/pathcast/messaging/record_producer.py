"""Sending records so that none is lost, none overtakes another, and memory stays bounded."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.messaging.records import OutgoingRecord
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.topics import MAX_RECORD_BYTES

_CALLBACKS_S = 5.0
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class RecordProducer:
    """Records acknowledged by all replicas, resent until they are, in the order they were given.

    A broker that dies is waited for, up to `delivery_timeout_s` per record. One request is under way at
    a time, so a resent record cannot fall behind a later one. A resend may repeat records, a few of one
    partition in the same order once more: readers go by (camera, captured_at), of which only the first
    counts. Safe to share between threads.

    `idempotent` lets the broker drop such repeats. It is off because the embedded broker, killed between
    noting a batch's number and storing the batch, answers the resend with "seen" and the batch is lost.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        security: KafkaSecurity | None = None,
        max_in_flight_bytes: int = 64 * 2**20,
        max_record_bytes: int = MAX_RECORD_BYTES,
        delivery_timeout_s: float = 600.0,
        connect_timeout_s: float = 30.0,
        compression: str | None = None,
        idempotent: bool = False,
    ) -> None:
        """Connect; `compression` (gzip, lz4, snappy, zstd) pays for records that are not images."""
        self._bootstrap = bootstrap
        self._max_in_flight_bytes = max_in_flight_bytes
        self._max_record_bytes = max_record_bytes
        self._delivery_timeout_s = delivery_timeout_s
        self._lock = threading.Condition()
        self._in_flight_bytes = 0
        self._acknowledged = 0
        self._failure: Exception | None = None
        try:
            # kafka-python connects in its caller's thread, and would lose a KeyboardInterrupt there and wait for ever.
            with ThreadPoolExecutor(1) as apart:
                connecting = apart.submit(
                    KafkaProducer,
                    bootstrap_servers=bootstrap,
                    client_id=client_id,
                    **(security or KafkaSecurity()).options(),
                    acks="all",
                    enable_idempotence=idempotent,
                    max_in_flight_requests_per_connection=1,
                    compression_type=compression,
                    batch_size=2**20,
                    max_request_size=max_record_bytes,
                    delivery_timeout_ms=int(delivery_timeout_s * 1_000),
                    request_timeout_ms=min(10_000, int(delivery_timeout_s * 1_000)),
                    max_block_ms=int(delivery_timeout_s * 1_000),
                    bootstrap_timeout_ms=int(connect_timeout_s * 1_000),
                    reconnect_backoff_max_ms=1_000,
                )
                self._producer: Any = connecting.result()
        except KafkaError as error:
            raise ServiceUnavailableError(
                f"Kafka at {bootstrap}: no answer within {connect_timeout_s:g} s: {error}",
                hint="`pathcast status` shows whether the broker runs",
            ) from error

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not yet acknowledged."""
        with self._lock:
            return self._in_flight_bytes

    @property
    def acknowledged(self) -> int:
        """Records acknowledged so far."""
        with self._lock:
            return self._acknowledged

    def has_room(self) -> bool:
        """Whether `send` would return at once."""
        with self._lock:
            return self._in_flight_bytes < self._max_in_flight_bytes

    def send(self, topic: str, record: OutgoingRecord) -> None:
        """Hand a record over; blocks while too many bytes wait for the broker.

        Raises InvalidInputError for a record over the size limit, and ServiceUnavailableError once any
        record could not be delivered: then the producer is spent, and what was not acknowledged must be
        sent again by a new one.
        """
        size = self._checked_size(record)
        with self._lock:
            deadline = time.monotonic() + self._delivery_timeout_s
            while self._failure is None and self._in_flight_bytes >= self._max_in_flight_bytes:
                if not self._lock.wait(timeout=max(deadline - time.monotonic(), 0.0)):
                    raise self._unavailable("no acknowledgement in time")
            self._raise_failure()
            self._in_flight_bytes += size
        try:
            future = self._producer.send(
                topic, value=record.value, key=record.key or None, headers=list(record.headers)
            )
        except KafkaError as error:
            self._settle(size, error)
            raise self._unavailable(error) from error
        future.add_callback(lambda _metadata: self._settle(size, None))
        future.add_errback(lambda error: self._settle(size, error))

    def deliver(self, topic: str, record: OutgoingRecord) -> None:
        """Send one record and wait for its acknowledgement.

        Raises InvalidInputError where the record is over the producer's or the broker's size limit, and
        ServiceUnavailableError where it could not be delivered.
        """
        self._checked_size(record)
        try:
            future = self._producer.send(
                topic, value=record.value, key=record.key or None, headers=list(record.headers)
            )
            future.get(timeout=self._delivery_timeout_s)
        except _TOO_LARGE as error:
            raise self._too_large(len(record.value)) from error
        except KafkaError as error:
            raise self._unavailable(error) from error

    def flush(self) -> None:
        """Wait until every record handed over is acknowledged; raises as `send`."""
        try:
            self._producer.flush(timeout=self._delivery_timeout_s)
        except KafkaError as error:
            raise self._unavailable(error) from error
        with self._lock:
            # The client marks its batches done before it has run all their callbacks.
            settled = self._lock.wait_for(
                lambda: self._in_flight_bytes == 0 or self._failure is not None, timeout=_CALLBACKS_S
            )
            self._raise_failure()
        if not settled:
            raise self._unavailable("no acknowledgement in time")

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Disconnect; what is not acknowledged by then is given up, so `flush` first."""
        try:
            self._producer.close(timeout=timeout_s)
        except KafkaError:
            # A dead broker takes no goodbye; the second call finds nothing left to flush.
            self._producer.close(timeout=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def _checked_size(self, record: OutgoingRecord) -> int:
        size = len(record.value) + len(record.key) + sum(len(name) + len(raw) for name, raw in record.headers)
        # 2 KiB: the batch's own header and lengths, which the client counts too.
        if size + 2_048 > self._max_record_bytes:
            raise self._too_large(len(record.value))
        return size

    def _settle(self, size: int, error: Exception | None) -> None:
        with self._lock:
            self._in_flight_bytes -= size
            if error is None:
                self._acknowledged += 1
            elif self._failure is None:
                self._failure = error
            self._lock.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._unavailable(self._failure) from self._failure

    def _unavailable(self, reason: object) -> ServiceUnavailableError:
        return ServiceUnavailableError(f"Kafka at {self._bootstrap}: a record was not acknowledged: {reason}")

    def _too_large(self, size: int) -> InvalidInputError:
        return InvalidInputError(
            f"record: expected less than {self._max_record_bytes} bytes, got a value of {size}",
            hint="lower the JPEG quality or the camera's resolution",
        )
