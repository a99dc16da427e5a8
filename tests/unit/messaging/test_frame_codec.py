from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame
from pathcast.messaging.frame_codec import decode_frame, encode_frame
from pathcast.messaging.records import Headers, OutgoingRecord, Record
from pathcast.messaging.trace import new_traceparent

GOLDEN = Path(__file__).parents[2] / "golden" / "messages" / "frame_v1.headers"
JPEG = bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1])
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FRAME = Frame("gate-1", 42, datetime(2026, 3, 1, 12, 0, 0, 142857, tzinfo=UTC), 64, 48, JPEG, TRACE)


def received(outgoing: OutgoingRecord) -> Record:
    return Record("frames", 0, 5, -1, outgoing.key, outgoing.value, outgoing.headers)


def with_header(name: str, value: bytes | None, *, repeat: bool = False) -> Headers:
    headers = []
    for key, raw in encode_frame(FRAME).headers:
        if key != name:
            headers.append((key, raw))
        elif value is not None:
            headers += [(key, value)] * (2 if repeat else 1)
    return tuple(headers)


@given(
    camera_id=st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"),
    sequence=st.integers(0, 2**63 - 1),
    captured_at=st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    traced=st.booleans(),
)
def test_round_trip(camera_id: str, sequence: int, captured_at: datetime, traced: bool) -> None:
    frame = Frame(camera_id, sequence, captured_at, 64, 48, JPEG, new_traceparent() if traced else "")
    assert decode_frame(received(encode_frame(frame))) == frame


def test_headers_of_schema_1_stay_as_released() -> None:
    lines = [f"{name}: {raw.decode('ascii')}" for name, raw in encode_frame(FRAME).headers]
    assert lines == GOLDEN.read_text(encoding="ascii").splitlines()


def test_golden_headers_of_schema_1_stay_readable() -> None:
    pairs = (line.split(": ") for line in GOLDEN.read_text(encoding="ascii").splitlines())
    headers = tuple((name, text.encode("ascii")) for name, text in pairs)
    assert decode_frame(replace(received(encode_frame(FRAME)), headers=headers)) == FRAME


def test_other_headers_are_ignored() -> None:
    record = received(encode_frame(FRAME))
    assert decode_frame(replace(record, headers=(*record.headers, ("baggage", b"\xff"), ("baggage", b"")))) == FRAME


@pytest.mark.parametrize("name", ["schema_version", "camera_id", "captured_at", "sequence", "width", "height"])
def test_missing_header(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} missing"):
        decode_frame(replace(received(encode_frame(FRAME)), headers=with_header(name, None)))


@pytest.mark.parametrize("name", [name for name, _ in encode_frame(FRAME).headers])
def test_repeated_header(name: str) -> None:
    headers = with_header(name, dict(encode_frame(FRAME).headers)[name], repeat=True)
    with pytest.raises(InvalidInputError, match=f"{name}: expected once"):
        decode_frame(replace(received(encode_frame(FRAME)), headers=headers))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("schema_version", b"2", "schema_version: expected 1, got '2'"),
        ("schema_version", b"one", "schema_version"),
        ("camera_id", b"gate-2", "key: expected the header's camera 'gate-2'"),
        ("camera_id", b"gate\xe9", "expected ASCII"),
        ("captured_at", b"-1", "captured_at"),
        ("captured_at", b"1e9", "captured_at"),
        ("captured_at", b"9999999999999999999", "captured_at"),
        ("sequence", b"", "sequence"),
        ("sequence", b"01", "sequence"),
        ("sequence", b"3.0", "sequence"),
        ("width", b"65536", "width"),
        ("width", b"63", "expected the headers' 63x48 pixels, got 64x48"),
        ("height", b"0", "expected the headers' 64x0"),
        ("traceparent", b"00-0-0-0", "traceparent"),
        ("traceparent", b"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "traceparent"),
    ],
)
def test_malformed_header(name: str, value: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        decode_frame(replace(received(encode_frame(FRAME)), headers=with_header(name, value)))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty record"),
        (b"", "empty record"),
        (bytes(2000), "at most 1000 bytes, got 2000"),
        (b"not a picture", "expected to start with ff d8"),
        (JPEG[:-2], "cut off"),
        (JPEG[: len(JPEG) // 2], "cut off"),
    ],
)
def test_bad_value(value: bytes | None, reason: str) -> None:
    assert len(JPEG) <= 1000
    with pytest.raises(InvalidInputError, match=reason):
        decode_frame(replace(received(encode_frame(FRAME)), value=value), max_bytes=1000)


def test_bad_camera_id_is_rejected_even_when_the_key_agrees() -> None:
    record = replace(received(encode_frame(FRAME)), key=b"Gate 1", headers=with_header("camera_id", b"Gate 1"))
    with pytest.raises(InvalidInputError, match="camera id 'Gate 1'"):
        decode_frame(record)


@pytest.mark.parametrize("key", [None, b"", b"gate-2"])
def test_key_must_be_the_camera(key: bytes | None) -> None:
    with pytest.raises(InvalidInputError, match="key: expected the header's camera"):
        decode_frame(replace(received(encode_frame(FRAME)), key=key))


@pytest.mark.parametrize("size", [(32_000, 32_000), (8_000, 8_001), (65_535, 65_535)])
def test_a_size_too_large_to_decode(size: tuple[int, int]) -> None:
    width, height = size
    start = JPEG.index(b"\xff\xc0") + 5
    jpeg = JPEG[:start] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + JPEG[start + 4 :]
    record = received(encode_frame(replace(FRAME, width=width, height=height, jpeg=jpeg)))
    with pytest.raises(InvalidInputError, match=f"at most 64000000 pixels, got {width}x{height}"):
        decode_frame(record)


@pytest.mark.parametrize(
    ("ahead_ms", "accepted"), [(-(10**11), True), (0, True), (86_400_000, True), (86_400_001, False)]
)
def test_a_time_ahead_of_the_record(ahead_ms: int, accepted: bool) -> None:
    captured_ms = int(dict(encode_frame(FRAME).headers)["captured_at"]) // 1_000_000
    record = replace(received(encode_frame(FRAME)), timestamp_ms=captured_ms - ahead_ms)
    if accepted:
        assert decode_frame(record) == FRAME
    else:
        with pytest.raises(InvalidInputError, match="captured_at: expected at most a day"):
            decode_frame(record)
