"""Bad records end as dead letters with their reason, and the stream goes on."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.streaming import (
    Service,
    frame,
    observation,
    read_topic,
    stored,
)
from support.waiting import wait_for

from pathcast.core import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_codec import encode_frame
from pathcast.messaging.observation_codec import encode_observation, observation_record
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import MAX_VALUE_BYTES, OutgoingRecord
from pathcast.messaging.topics import dead_letter_topic

pytestmark = pytest.mark.integration


def bad_frames(camera_id: str) -> list[tuple[OutgoingRecord, str]]:
    """Everything a camera can send that is no frame, and the reason it should get."""
    good = encode_frame(frame(camera_id, 3))

    def with_headers(**changes: bytes | None) -> OutgoingRecord:
        headers = [(name, changes.get(name, raw)) for name, raw in good.headers]
        return replace(good, headers=tuple((name, raw) for name, raw in headers if raw is not None))

    return [
        (replace(good, value=good.value[: len(good.value) // 2]), "no end marker"),
        (replace(good, value=b"no image"), "expected to start with ff d8"),
        (replace(good, value=b""), "empty record"),
        (replace(good, value=bytes(10_000_000)), f"at most {MAX_VALUE_BYTES} bytes, got 10000000"),
        (replace(good, headers=()), "schema_version, camera_id"),
        (with_headers(schema_version=b"99"), "schema_version: expected 1, got '99'"),
        (with_headers(captured_at=b"yesterday"), "captured_at"),
        (with_headers(sequence=None), "sequence missing"),
        (with_headers(width=b"65"), "expected the headers' 65x48"),
        (replace(good, headers=(*good.headers, ("camera_id", b"other"))), "camera_id: expected once"),
        (replace(good, key=b"other"), "key: expected the header's camera"),
    ]


def test_bad_frames_end_as_dead_letters_and_the_stream_goes_on(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    bad = bad_frames("poisoned")
    for number, (record, _) in enumerate(bad):
        producer.send(settings.frames_topic, encode_frame(frame("poisoned", number)))
        producer.send(settings.frames_topic, record)
    producer.send(settings.frames_topic, encode_frame(frame("poisoned", len(bad))))
    producer.flush()
    archiver = service("archiver")
    wait_for(lambda: len(stored(settings, "frames", "poisoned")) == len(bad) + 1, "the good frames")
    letters = read_topic(settings, dead_letter_topic(settings.frames_topic), len(bad))
    assert len(letters) == len(bad)
    sources = {(record.headers, len(record.value)): (record, reason) for record, reason in bad}
    for letter in letters:
        added = {name: raw.decode() for name, raw in letter.headers if name.startswith("dead_letter_")}
        headers = tuple((name, raw) for name, raw in letter.headers if not name.startswith("dead_letter_"))
        length = int(added.get("dead_letter_value_bytes", len(letter.value or b"")))
        record, reason = sources.pop((headers, length))
        assert reason in added["dead_letter_reason"]
        assert (added["dead_letter_service"], added["dead_letter_topic"]) == ("archiver", settings.frames_topic)
        assert int(added["dead_letter_offset"]) >= 0
        assert letter.key == record.key
        if length > MAX_VALUE_BYTES:
            assert added["dead_letter_value_sha256"] == hashlib.sha256(record.value).hexdigest()
        else:
            assert (letter.value or b"") == record.value
    assert archiver.end(signal.SIGTERM) == 0


class Latin1Name(str):
    """A header name that a producer in another language did not encode as UTF-8."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode("latin-1", errors)


def test_records_that_the_client_cannot_read_end_as_dead_letters(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    good = encode_frame(frame("unreadable", 1))
    bad = replace(good, headers=(*good.headers, (Latin1Name("größe"), b"2")))
    for number in range(4):
        producer.send(settings.frames_topic, encode_frame(frame("unreadable", number)))
        producer.flush()  # a batch of its own, as from another producer
        if number in (1, 2):
            producer.send(settings.frames_topic, bad)
            producer.send(settings.frames_topic, bad)
            producer.flush()
    service("archiver")
    wait_for(lambda: stored(settings, "frames", "unreadable") == [0, 1, 2, 3], "the good frames")
    letters = read_topic(settings, dead_letter_topic(settings.frames_topic), 4)
    reasons = [dict(letter.headers)["dead_letter_reason"].decode() for letter in letters]
    assert all("not in Kafka's format" in reason for reason in reasons)
    places = {dict(letter.headers)["dead_letter_offset"] for letter in letters}
    assert len(places) == len(letters) == 4


def test_a_frame_over_the_limit_is_refused_before_it_is_sent(settings: PlatformSettings) -> None:
    with (
        RecordProducer(settings.kafka_bootstrap, client_id="test") as sender,
        pytest.raises(InvalidInputError, match="got a value of 10000000"),
    ):
        sender.send(settings.frames_topic, replace(encode_frame(frame("big", 0)), value=bytes(10_000_000)))


def test_bad_observations_end_as_dead_letters_and_the_stream_goes_on(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    good = observation_record(observation("watched", 0))
    bad = [
        (replace(good, value=b"\x81\xa6schema\x63"), "expected schema 1, 2, 3, 4, got 99"),
        (replace(good, value=encode_observation(observation("watched", 1))[:-9]), "observation"),
        (replace(good, value=b""), "empty record"),
        (replace(good, key=b"other"), "key: expected camera 'watched'"),
        (observation_record(observation("watched", 50, detector="\0")), "NUL"),
        (
            observation_record(
                replace(observation("watched", 51), detections=Detections([[1, 2, 3, 4]], [0.5], [40_000]))
            ),
            "expected integers that fit int16, got 40000 to 40000",
        ),
    ]
    for number, (record, _) in enumerate(bad):
        producer.send(settings.observations_topic, observation_record(observation("watched", number)))
        producer.send(settings.observations_topic, record)
    producer.flush()
    recorder = service("recorder")
    letters = read_topic(settings, dead_letter_topic(settings.observations_topic), len(bad))
    wait_for(lambda: stored(settings, "observations", "watched") == list(range(len(bad))), "the good observations")
    assert len(letters) == len(bad)
    reasons = {(each.key, each.value or b""): dict(each.headers)["dead_letter_reason"].decode() for each in letters}
    for record, reason in bad:
        assert reason in reasons[record.key, record.value]
    assert recorder.end(signal.SIGTERM) == 0
