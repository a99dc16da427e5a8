from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core import Frame, InvalidInputError
from pathcast.storage.packs import build_pack, checked_frame, rows_of, unpack

START = datetime(2026, 3, 1, 12, 34, 56, 789_000, tzinfo=UTC)

frames = st.builds(
    Frame,
    camera_id=st.just("gate-1"),
    sequence=st.integers(0, 2**62),
    captured_at=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    width=st.integers(1, 10_000),
    height=st.integers(1, 10_000),
    jpeg=st.binary(max_size=200),
)


def frame(sequence: int, jpeg: bytes = b"jpeg") -> Frame:
    return Frame("gate-1", sequence, START + timedelta(seconds=sequence), 4, 3, jpeg)


@given(st.lists(frames, min_size=1, max_size=8))
def test_round_trip(given_frames: list[Frame]) -> None:
    pack = build_pack(given_frames)
    assert unpack(pack.data) == given_frames
    assert rows_of(pack.key, pack.data) == list(pack.rows)
    for row, original in zip(pack.rows, given_frames, strict=True):
        jpeg = pack.data[row.pack_offset : row.pack_offset + row.byte_length]
        assert checked_frame(row, jpeg) == original
    assert build_pack(given_frames) == pack


@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_any_changed_or_missing_byte_is_noticed(given_frames: list[Frame], data: st.DataObject) -> None:
    pack = build_pack(given_frames).data
    cut = data.draw(st.integers(0, len(pack) - 1))
    position = data.draw(st.integers(0, len(pack) - 1))
    changed = bytearray(pack)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidInputError):
        unpack(pack[:cut] if any(each.jpeg for each in given_frames) else pack[: min(cut, 5)])
    try:
        survived = unpack(bytes(changed))
    except InvalidInputError:
        return
    # A flip in the index can make another valid one, but never other pictures.
    assert [each.jpeg for each in survived] == [each.jpeg for each in given_frames]


def test_key_names_the_first_frame() -> None:
    key = build_pack([frame(41), frame(42)]).key
    assert key.startswith("gate-1/2026/03/01/123537-41-")
    assert key.endswith(".pack")


@pytest.mark.parametrize(
    "other", [[frame(0)], [frame(0), frame(1), frame(2)], [frame(0), frame(1, b"other")], [frame(0), frame(2)]]
)
def test_other_content_has_another_key(other: list[Frame]) -> None:
    assert build_pack(other).key != build_pack([frame(0), frame(1)]).key


@pytest.mark.parametrize(
    ("content", "message"),
    [([], "at least one"), ([frame(0), replace(frame(1), camera_id="gate-2")], "one camera")],
)
def test_packs_that_cannot_be(content: list[Frame], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        build_pack(content)


@pytest.mark.parametrize(
    "data", [b"", b"PCPK", b"JUNK" + bytes(6), b"PCPK\x00\x02" + bytes(4), b"PCPK\x00\x01\x00\x00\x00\x01\xc1"]
)
def test_what_is_no_pack(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="pack"):
        unpack(data)
