"""How the producer connects; what it sends is tested on a real broker."""

from __future__ import annotations

import threading

import pytest
from kafka.errors import KafkaTimeoutError

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging import record_producer
from pathcast.messaging.record_producer import RecordProducer


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
