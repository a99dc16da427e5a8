"""How the producer connects; what it sends is tested on a real broker."""

from __future__ import annotations

import threading

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging import record_producer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import OutgoingRecord


def test_it_connects_where_no_interrupt_can_get_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def connect(**options: object) -> None:
        threads.append(threading.current_thread())
        raise KafkaTimeoutError("nobody")

    monkeypatch.setattr(record_producer, "KafkaProducer", connect)
    with pytest.raises(ServiceUnavailableError, match="no answer within 30 s: .*nobody"):
        RecordProducer("127.0.0.1:1", client_id="test")
    (thread,) = threads
    assert thread is not threading.main_thread()
    assert not thread.is_alive()


class SilentClient:
    """Says that all is sent, and calls nobody back."""

    def __init__(self, **options: object) -> None: ...

    def send(self, topic: str, **record: object) -> Future:
        return Future()

    def flush(self, timeout: float) -> None: ...

    def close(self, timeout: float) -> None: ...


def test_what_nobody_acknowledged_is_not_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_producer, "KafkaProducer", SilentClient)
    monkeypatch.setattr(record_producer, "_CALLBACKS_S", 0.01)
    producer = RecordProducer("127.0.0.1:1", client_id="test")
    producer.flush()
    producer.send("frames", OutgoingRecord(b"gate", b"value", ()))
    with pytest.raises(ServiceUnavailableError, match="no acknowledgement in time"):
        producer.flush()
    producer.close()
