from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.frame import Frame
from pathcast.messaging.pack_assembler import OpenPack, PackAssembler, PackLimits
from pathcast.messaging.records import Record

START = datetime(2026, 3, 1, tzinfo=UTC)


def frame(camera_id: str, seconds: float, size: int = 10) -> Frame:
    return Frame(camera_id, int(seconds * 10), START + timedelta(seconds=seconds), 8, 8, bytes(size))


def record(offset: int, partition: int = 0) -> Record:
    return Record("frames", partition, offset, 0, b"", b"", ())


def seconds_of(pack: OpenPack | None) -> list[float]:
    assert pack is not None
    return [(each.captured_at - START).total_seconds() for each in pack.frames]


def test_packs_are_cut_on_the_frames_clock() -> None:
    assembler = PackAssembler(PackLimits(seconds=4))
    assert [assembler.add(record(i), frame("a", s), 0.0) for i, s in enumerate((1, 2, 3.9))] == [None] * 3
    assert seconds_of(assembler.add(record(3), frame("a", 4), 0.0)) == [1, 2, 3.9]
    assert seconds_of(assembler.take_all()[0]) == [4]


def test_cuts_do_not_depend_on_where_reading_starts() -> None:
    def packs(first: int) -> list[list[float]]:
        assembler = PackAssembler(PackLimits(seconds=4))
        closed = [assembler.add(record(i), frame("a", i), 0.0) for i in range(first, 20)]
        return [seconds_of(pack) for pack in closed if pack is not None]

    assert packs(8) == packs(0)[2:]


def test_a_full_pack_is_closed() -> None:
    assembler = PackAssembler(PackLimits(seconds=100, max_bytes=25))
    for i in range(3):
        assert assembler.add(record(i), frame("a", i), 0.0) is None
    assert seconds_of(assembler.add(record(3), frame("a", 3), 0.0)) == [0, 1, 2]


def test_a_camera_that_stops_is_flushed() -> None:
    assembler = PackAssembler(PackLimits(seconds=4, flush_s=6))
    assembler.add(record(0), frame("a", 0), now=10.0)
    assembler.add(record(1), frame("b", 0), now=12.0)
    assert assembler.take_due(15.9) == []
    assert [pack.frames[0].camera_id for pack in assembler.take_due(16.0)] == ["a"]
    assert assembler.next_offsets() == {0: 1}


def test_repeats_are_left_out() -> None:
    assembler = PackAssembler(PackLimits(seconds=4))
    for offset, seconds in enumerate((0, 1, 0, 1, 2)):
        assembler.add(record(offset), frame("a", seconds), 0.0)
    assert seconds_of(assembler.take_all()[0]) == [0, 1, 2]
    assert assembler.next_offsets() == {0: 5}


def test_the_offset_waits_for_the_oldest_open_pack() -> None:
    assembler = PackAssembler(PackLimits(seconds=4))
    assembler.add(record(7), frame("a", 3), 0.0)
    assembler.add(record(8), frame("b", 3), 0.0)
    assembler.skip(record(9))
    assert assembler.add(record(10), frame("b", 4), 0.0) is not None
    assert assembler.next_offsets() == {0: 7}
    assert assembler.add(record(11), frame("a", 4), 0.0) is not None
    assert assembler.next_offsets() == {0: 10}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["add", "skip", "due"])
        ),
        max_size=60,
    )
)
def test_no_frame_is_ever_behind_the_offset_without_being_in_a_closed_pack(
    events: list[tuple[int, str, int, str]],
) -> None:
    """The invariant that makes a kill at any moment harmless."""
    assembler = PackAssembler(PackLimits(seconds=4, flush_s=3))
    clock: dict[tuple[int, str], int] = {}
    offsets = {0: 0, 1: 0}
    read: list[tuple[int, int, str, datetime]] = []
    stored: set[tuple[int, str, datetime]] = set()

    def keep(packs: list[OpenPack]) -> None:
        stored.update((p.partition, f.camera_id, f.captured_at) for p in packs for f in p.frames)

    for now, (partition, camera_id, advance, action) in enumerate(events):
        if action == "due":
            keep(assembler.take_due(now))
            continue
        offset, offsets[partition] = offsets[partition], offsets[partition] + 1
        if action == "skip":
            assembler.skip(record(offset, partition))
        else:
            key = (partition, camera_id)
            clock[key] = clock.get(key, 0) + advance
            image = frame(camera_id, clock[key])
            read.append((partition, offset, camera_id, image.captured_at))
            closed = assembler.add(record(offset, partition), image, now)
            keep([closed] if closed else [])
        next_offsets = assembler.next_offsets()
        for part, position, camera, moment in read:
            assert position >= next_offsets[part] or (part, camera, moment) in stored
    keep(assembler.take_all())
    assert {(part, camera, moment) for part, _, camera, moment in read} == stored
    assert all(assembler.next_offsets().get(part, 0) == offset for part, offset in offsets.items())
