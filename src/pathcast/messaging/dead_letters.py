"""Where records go that cannot be processed: kept, with the reason, beside the stream that goes on."""

from __future__ import annotations

import hashlib
import logging

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import MAX_VALUE_BYTES, Headers, OutgoingRecord, Record
from pathcast.messaging.topics import dead_letter_topic

_log = logging.getLogger(__name__)

_MAX_REASON_BYTES = 1_000


class DeadLetters:
    """Copies poison records to `<topic>.dead-letter`.

    A dead letter keeps key, value and headers of the record and adds the headers `dead_letter_reason`,
    `dead_letter_service`, `dead_letter_topic`, `dead_letter_partition` and `dead_letter_offset`. A value
    over the size limit is left out; `dead_letter_value_bytes` and `dead_letter_value_sha256` then say
    what it was. Where the rest is still too large, key and headers are left out and described in the
    same way, `dead_letter_key_*` and `dead_letter_headers_*` (each name and value, in order). After a
    crash a record may be copied again: topic, partition and offset tell its copies.
    """

    def __init__(self, producer: RecordProducer, service: str, *, max_value_bytes: int = MAX_VALUE_BYTES) -> None:
        self._producer = producer
        self._service = service
        self._max_value_bytes = max_value_bytes

    def bury(self, record: Record, reason: str) -> None:
        """Return once the copy is acknowledged; only then may the reader's offset pass the record."""
        key, value = record.key or b"", record.value or b""
        topic = dead_letter_topic(record.topic)
        kept = tuple((name, raw if raw is not None else b"") for name, raw in record.headers)
        added: Headers = (
            ("dead_letter_reason", reason.encode("utf-8")[:_MAX_REASON_BYTES]),
            ("dead_letter_service", self._service.encode("utf-8")),
            ("dead_letter_topic", record.topic.encode("utf-8")),
            ("dead_letter_partition", str(record.partition).encode("ascii")),
            ("dead_letter_offset", str(record.offset).encode("ascii")),
        )
        _log.warning("%s goes to %s: %s", record, topic, reason)
        if len(value) <= self._max_value_bytes and self._fits(topic, OutgoingRecord(key, value, kept + added)):
            return
        added += _described("value", value)
        if self._fits(topic, OutgoingRecord(key, b"", kept + added)):
            return
        added += _described("key", key)
        added += _described("headers", b"".join(name.encode("utf-8") + raw for name, raw in kept))
        self._producer.deliver(topic, OutgoingRecord(b"", b"", added))

    def _fits(self, topic: str, letter: OutgoingRecord) -> bool:
        try:
            self._producer.deliver(topic, letter)
        except InvalidInputError as error:
            _log.warning("a record is too large for %s and is cut: %s", topic, error.message)
            return False
        return True


def _described(part: str, data: bytes) -> Headers:
    return (
        (f"dead_letter_{part}_bytes", str(len(data)).encode("ascii")),
        (f"dead_letter_{part}_sha256", hashlib.sha256(data).hexdigest().encode("ascii")),
    )
