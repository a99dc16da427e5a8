from __future__ import annotations

import hashlib
from typing import cast

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.dead_letters import DeadLetters
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import Headers, OutgoingRecord, Record

LIMIT = 2_000


class SmallBroker:
    """Takes records of up to `LIMIT` bytes, all parts together."""

    def __init__(self) -> None:
        self.letters: list[OutgoingRecord] = []

    def deliver(self, topic: str, record: OutgoingRecord) -> None:
        assert topic == "frames.dead-letter"
        size = len(record.key) + len(record.value) + sum(len(name) + len(raw) for name, raw in record.headers)
        if size > LIMIT:
            raise InvalidInputError(f"record: expected less than {LIMIT} bytes, got {size}")
        self.letters.append(record)


def buried(key: bytes, value: bytes, headers: Headers) -> OutgoingRecord:
    broker = SmallBroker()
    letters = DeadLetters(cast(RecordProducer, broker), "archiver", max_value_bytes=1_000)
    letters.bury(Record("frames", 3, 7, -1, key, value, headers), "odd")
    (letter,) = broker.letters
    return letter


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")


@pytest.mark.parametrize("value", [b"", b"v", bytes(1_000)])
def test_a_record_that_fits_is_kept_whole(value: bytes) -> None:
    letter = buried(b"gate-1", value, (("sequence", b"1"),))
    assert (letter.key, letter.value, letter.headers[0]) == (b"gate-1", value, ("sequence", b"1"))
    assert dict(letter.headers)["dead_letter_offset"] == b"7"


def test_a_large_value_alone_leaves_key_and_headers() -> None:
    letter = buried(b"gate-1", bytes(1_001), (("sequence", b"1"),))
    assert (letter.key, letter.value, letter.headers[0]) == (b"gate-1", b"", ("sequence", b"1"))
    assert dict(letter.headers)["dead_letter_value_bytes"] == b"1001"
    assert dict(letter.headers)["dead_letter_value_sha256"] == digest(bytes(1_001))
    assert "dead_letter_key_bytes" not in dict(letter.headers)


@pytest.mark.parametrize("value", [b"", b"v", bytes(1_500)])
@pytest.mark.parametrize(
    ("key", "headers"),
    [
        (bytes(3_000), ()),
        (b"gate-1", (("note", bytes(3_000)),)),
        (b"gate-1", tuple((f"note-{number}", b"x") for number in range(500))),
        (bytes(3_000), (("n" * 3_000, b""),)),
    ],
)
def test_a_large_key_or_header_never_stands_in_the_way(key: bytes, value: bytes, headers: Headers) -> None:
    letter = buried(key, value, headers)
    found = dict(letter.headers)
    assert (letter.key, letter.value) == (b"", b"")
    assert all(name.startswith("dead_letter_") for name in found)
    assert (found["dead_letter_reason"], found["dead_letter_partition"]) == (b"odd", b"3")
    foreign = b"".join(name.encode() + raw for name, raw in headers)
    for part, data in (("key", key), ("value", value), ("headers", foreign)):
        assert found[f"dead_letter_{part}_bytes"] == str(len(data)).encode()
        assert found[f"dead_letter_{part}_sha256"] == digest(data)
