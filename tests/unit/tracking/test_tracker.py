from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import Detections, FrameTracks, InvalidInputError
from pathcast.tracking.settings import AppearanceSettings, CameraMotionSettings, SwaySettings, TrackerSettings
from pathcast.tracking.tracker import Tracker

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
PLAIN = TrackerSettings(instant_score=2.0, confirm_hits=3, max_lost_s=2.0, coast_s=0.25)


def at(frame: float, rate: float = 10.0) -> datetime:
    return START + timedelta(seconds=frame / rate)


def person(x: float, y: float = 100.0, *, score: float = 0.9, width: float = 40.0) -> tuple[list[float], float]:
    return [x, y, x + width, y + 2.5 * width], score


def seen(*objects: tuple[list[float], float], classes: list[int] | None = None) -> Detections:
    if not objects:
        return Detections.empty()
    return Detections([box for box, _ in objects], [score for _, score in objects], classes or [0] * len(objects))


def rows(tracks: FrameTracks) -> dict[int, int]:
    return dict(zip(tracks.track_ids.tolist(), tracks.detection_indices.tolist(), strict=True))


def assert_equal(first: FrameTracks, second: FrameTracks) -> None:
    for name in ("track_ids", "xyxy", "scores", "class_ids", "detection_indices"):
        one, other = getattr(first, name), getattr(second, name)
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes(), name


def test_no_detections_give_no_tracks() -> None:
    tracker = Tracker()
    for frame in range(3):
        assert len(tracker.update(seen(), at(frame))) == 0


def test_objects_of_the_first_frame_are_tracks_at_once_and_keep_their_ids() -> None:
    tracker = Tracker(PLAIN)
    for frame in range(20):
        forward, back = person(100 + 6 * frame), person(400 - 6 * frame, 300)
        objects = [forward, back] if frame % 2 == 0 else [back, forward]
        result = tracker.update(seen(*objects), at(frame))
        assert rows(result) == ({1: 0, 2: 1} if frame % 2 == 0 else {1: 1, 2: 0})
    assert result.track_ids.tolist() == [1, 2]


def test_later_objects_are_reported_from_the_confirming_hit_on() -> None:
    tracker = Tracker(PLAIN)
    tracker.update(seen(), at(0))
    reported = [len(tracker.update(seen(person(100 + frame)), at(frame))) for frame in range(1, 5)]
    assert reported == [0, 0, 1, 1]


def test_a_sure_detection_is_confirmed_at_once() -> None:
    tracker = Tracker(msgspec.structs.replace(PLAIN, instant_score=0.85))
    tracker.update(seen(), at(0))
    assert rows(tracker.update(seen(person(100)), at(1))) == {1: 0}


def test_a_single_false_detection_takes_no_id() -> None:
    tracker = Tracker(PLAIN)
    tracker.update(seen(), at(0))
    tracker.update(seen(person(600)), at(1))
    for frame in range(2, 6):
        result = tracker.update(seen(person(100 + frame)), at(frame))
    assert result.track_ids.tolist() == [1]


def test_a_low_score_keeps_a_track_but_opens_none() -> None:
    tracker = Tracker(PLAIN)
    tracker.update(seen(person(100)), at(0))
    for frame in range(1, 6):
        result = tracker.update(seen(person(100 + frame, score=0.2), person(500, score=0.2)), at(frame))
        assert rows(result) == {1: 0}


def test_an_unseen_track_coasts_then_returns_with_its_id() -> None:
    tracker = Tracker(PLAIN)
    for frame in range(10):
        tracker.update(seen(person(100 + 5 * frame)), at(frame))
    coasting = tracker.update(seen(), at(10))
    assert rows(coasting) == {1: -1}
    assert coasting.xyxy[0, 0] == pytest.approx(150, abs=4)
    assert [len(tracker.update(seen(), at(frame))) for frame in range(11, 15)] == [1, 0, 0, 0]
    assert rows(tracker.update(seen(person(175)), at(15))) == {1: 0}


def test_an_object_that_stays_away_returns_as_a_new_one() -> None:
    tracker = Tracker(PLAIN)
    for frame in range(5):
        tracker.update(seen(person(100)), at(frame))
    for frame in range(26, 30):
        result = tracker.update(seen(person(100)), at(frame))
    assert result.track_ids.tolist() == [2]


def test_times_without_end() -> None:
    forever = msgspec.structs.replace(
        PLAIN, max_lost_s=math.inf, low_lost_s=math.inf, coast_s=math.inf, sway=SwaySettings(recent_s=math.inf)
    )
    tracker = Tracker(forever)
    for frame in range(10):
        tracker.update(seen(person(100)), at(frame))
    assert rows(tracker.update(seen(), at(1_000_000))) == {1: -1}
    assert rows(tracker.update(seen(person(100)), at(1_000_001))) == {1: 0}


def test_missing_frames_are_predicted_over() -> None:
    tracker = Tracker(PLAIN)
    for frame in range(15):
        tracker.update(seen(person(100 + 8 * frame)), at(frame))
    assert rows(tracker.update(seen(person(100 + 8 * 22)), at(22))) == {1: 0}


@pytest.mark.parametrize("rate", [5.0, 12.5, 30.0])
def test_motion_is_in_seconds_whatever_the_frame_rate(rate: float) -> None:
    tracker = Tracker(PLAIN)
    frames = int(4 * rate)
    for frame in range(frames):
        tracker.update(seen(person(100 + 60 * frame / rate)), at(frame, rate))
    coasting = tracker.update(seen(), at(frames - 1 + 0.2 * rate, rate))
    assert coasting.xyxy[0, 0] == pytest.approx(100 + 60 * ((frames - 1) / rate + 0.2), abs=3)


def test_classes_do_not_share_tracks() -> None:
    tracker = Tracker(msgspec.structs.replace(PLAIN, confirm_hits=1, coast_s=0.0))
    assert tracker.update(seen(person(100), classes=[0]), at(0)).class_ids.tolist() == [0]
    result = tracker.update(seen(person(100), classes=[2]), at(1))
    assert (result.track_ids.tolist(), result.class_ids.tolist()) == ([2], [2])
    both = tracker.update(seen(person(100), person(100), classes=[2, 0]), at(2))
    assert rows(both) == {1: 1, 2: 0}


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_frame_that_is_not_later_is_refused_and_changes_nothing(seconds: float) -> None:
    tracker = Tracker(PLAIN)
    tracker.update(seen(person(100)), START)
    before = tracker.state()
    with pytest.raises(InvalidInputError, match="expected a time after the last frame's 2024-05-01T12:00:00"):
        tracker.update(seen(person(100)), START + timedelta(seconds=seconds))
    assert tracker.state() == before


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="aware UTC"):
        Tracker().update(seen(), datetime(2024, 1, 1))  # noqa: DTZ001


BOXES = st.tuples(st.integers(0, 300), st.integers(0, 200), st.integers(0, 60), st.integers(0, 90), st.integers(0, 100))
FRAMES = st.lists(st.tuples(st.integers(1, 900), st.lists(BOXES, max_size=6)), min_size=1, max_size=14)


def built(frames: list[tuple[int, list[tuple[int, int, int, int, int]]]]) -> list[tuple[datetime, Detections]]:
    moment, result = START, []
    for step_ms, boxes in frames:
        moment += timedelta(milliseconds=step_ms)
        xyxy = [[x, y, x + w, y + h] for x, y, w, h, _ in boxes]
        scores = [score / 100 for *_, score in boxes]
        result.append((moment, Detections(xyxy, scores, [x % 2 for x, *_ in boxes])))
    return result


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.integers(0, 13), st.integers(1, 3))
def test_a_restored_tracker_goes_on_to_the_bit(
    frames: list[tuple[int, list[tuple[int, int, int, int, int]]]], cut: int, confirm_hits: int
) -> None:
    chosen = TrackerSettings(confirm_hits=confirm_hits)
    whole, cut_short = Tracker(chosen), Tracker(chosen)
    for number, (moment, detections) in enumerate(built(frames)):
        if number == cut:
            cut_short = Tracker.restore(cut_short.state())
        assert_equal(whole.update(detections, moment), cut_short.update(detections, moment))
        assert whole.state() == cut_short.state()


@settings(max_examples=150, deadline=None)
@given(FRAMES)
def test_what_every_result_keeps(frames: list[tuple[int, list[tuple[int, int, int, int, int]]]]) -> None:
    tracker, last_new, known = Tracker(TrackerSettings(confirm_hits=1)), 0, {}
    for moment, detections in built(frames):
        result = tracker.update(detections, moment)
        ids = result.track_ids.tolist()
        assert ids == sorted(set(ids))
        new = [identity for identity in ids if identity not in known]
        assert new == list(range(last_new + 1, last_new + 1 + len(new)))
        last_new += len(new)
        taken = result.detection_indices[result.detection_indices >= 0]
        assert len(set(taken.tolist())) == len(taken)
        assert (detections.class_ids[taken] == result.class_ids[result.detection_indices >= 0]).all()
        assert np.isfinite(result.xyxy).all()
        assert (result.xyxy[:, 2:] > result.xyxy[:, :2]).all()
        for identity, class_id in zip(ids, result.class_ids.tolist(), strict=True):
            assert known.setdefault(identity, class_id) == class_id


def shaken_scene(frames: int = 60) -> list[Detections]:
    generator = np.random.default_rng(7)
    places, speeds = generator.uniform(0, 600, (8, 2)), generator.normal(0, 2, (8, 2))
    scene = []
    for frame in range(frames):
        left = places + speeds * frame + generator.normal(0, 8, 2) + generator.normal(0, 0.5, (8, 2))
        scene.append(Detections(np.hstack((left, left + [30, 80])), [0.9] * 8, [0] * 8))
    return scene


def test_a_shaking_camera_costs_no_identity_and_restores_to_the_bit() -> None:
    whole, cut_short, ids = Tracker(), Tracker(), set()
    for frame, detections in enumerate(shaken_scene()):
        if frame % 7 == 0:
            cut_short = Tracker.restore(cut_short.state())
        result = whole.update(detections, at(frame))
        assert_equal(result, cut_short.update(detections, at(frame)))
        ids |= set(result.track_ids.tolist())
    assert len(ids) == 8
    resting = Tracker(msgspec.structs.replace(TrackerSettings(), sway=SwaySettings(least_objects=99)))
    for frame, detections in enumerate(shaken_scene()):
        unaware = resting.update(detections, at(frame))
    errors = [np.abs(tracks.xyxy - detections.xyxy[tracks.detection_indices]).mean() for tracks in (result, unaware)]
    assert errors[0] < errors[1] / 2


LOOKS = np.eye(4, dtype=np.float32)
WITH_LOOKS = msgspec.structs.replace(PLAIN, appearance=AppearanceSettings(memory_s=8.0))


def looking(*objects: tuple[list[float], float], looks: list[int]) -> Detections:
    boxes = [box for box, _ in objects]
    return Detections(boxes, [score for _, score in objects], [0] * len(objects), LOOKS[looks])


def crossing(tracker: Tracker, *, with_looks: bool) -> dict[int, int]:
    """Two people walk towards each other, are hidden, and have turned back when they are seen again."""
    for frame in range(10):
        people = person(100 + 8 * frame), person(300 - 8 * frame)
        result = tracker.update(looking(*people, looks=[0, 1]) if with_looks else seen(*people), at(frame))
    assert rows(result) == {1: 0, 2: 1}
    for frame in range(10, 16):
        tracker.update(seen(), at(frame))
    people = person(165), person(235)
    return rows(tracker.update(looking(*people, looks=[0, 1]) if with_looks else seen(*people), at(16)))


def test_appearance_tells_apart_what_motion_confuses() -> None:
    assert crossing(Tracker(PLAIN), with_looks=False) == {1: 1, 2: 0}
    assert crossing(Tracker(WITH_LOOKS), with_looks=True) == {1: 0, 2: 1}


@pytest.mark.parametrize(("cosine", "expected"), [(0.55, 2), (0.75, 1)])
def test_who_stands_in_the_place_of_another_is_told_by_the_usual_gate(cosine: float, expected: int) -> None:
    tracker = Tracker(msgspec.structs.replace(WITH_LOOKS, confirm_hits=1))
    for frame in range(5):
        tracker.update(looking(person(100), looks=[0]), at(frame))
    (box, score), look = person(102), [[cosine, math.sqrt(1 - cosine**2), 0, 0]]
    result = tracker.update(Detections([box], [score], [0], np.array(look, np.float32)), at(5))
    assert result.track_ids[result.detection_indices == 0].tolist() == [expected]


@pytest.mark.parametrize(("look", "expected"), [(0, 1), (1, 2)])
def test_one_lost_for_long_is_recalled_by_its_looks_alone(look: int, expected: int) -> None:
    tracker = Tracker(msgspec.structs.replace(WITH_LOOKS, confirm_hits=1))
    for frame in range(5):
        tracker.update(looking(person(100), looks=[0]), at(frame))
    returned = tracker.update(looking(person(180), looks=[look]), at(54))
    assert returned.track_ids.tolist() == [expected]


@pytest.mark.parametrize("far", [False, True])
def test_a_stranger_too_far_away_is_not_recalled(far: bool) -> None:
    tracker = Tracker(msgspec.structs.replace(WITH_LOOKS, confirm_hits=1))
    for frame in range(5):
        tracker.update(looking(person(100), looks=[0]), at(frame))
    # A box of 100 pixels height may be 1 + 3.6 heights away after 3.6 s.
    returned = tracker.update(looking(person(600 if far else 500), looks=[0]), at(40))
    assert returned.track_ids.tolist() == ([2] if far else [1])


def test_without_embeddings_appearance_changes_nothing() -> None:
    plain, with_looks = Tracker(PLAIN), Tracker(WITH_LOOKS)
    for frame, detections in enumerate(shaken_scene(30)):
        assert_equal(plain.update(detections, at(frame)), with_looks.update(detections, at(frame)))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_an_embedding_without_a_length_says_nothing(odd: float) -> None:
    tracker = Tracker(WITH_LOOKS)
    for frame in range(3):
        looks = np.array([[odd, 1, 0, 0]], np.float32)
        result = tracker.update(Detections([[10, 10, 30, 60]], [0.9], [0], looks), at(frame))
    assert result.track_ids.tolist() == [1]
    assert Tracker.restore(tracker.state()).state() == tracker.state()


def test_embeddings_of_another_length_are_refused_and_change_nothing() -> None:
    tracker = Tracker(WITH_LOOKS)
    tracker.update(looking(person(100), looks=[0]), at(0))
    before = tracker.state()
    with pytest.raises(InvalidInputError, match="expected 4 numbers each as before, got 3"):
        tracker.update(Detections([[0, 0, 9, 9]], [0.9], [0], [[1, 0, 0]]), at(1))
    assert tracker.state() == before


@settings(max_examples=60, deadline=None)
@given(FRAMES, st.integers(0, 13), st.lists(st.integers(0, 5), min_size=14, max_size=14), st.booleans())
def test_with_every_option_a_restored_tracker_goes_on_to_the_bit(
    frames: list[tuple[int, list[tuple[int, int, int, int, int]]]], cut: int, kinds: list[int], images: bool
) -> None:
    chosen = TrackerSettings(
        confirm_hits=1, appearance=AppearanceSettings(recall_cosine=0.5), camera_motion=CameraMotionSettings()
    )
    whole, cut_short = Tracker(chosen), Tracker(chosen)
    ground = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8).repeat(3, axis=0).repeat(3, axis=1)
    for number, (moment, plain) in enumerate(built(frames)):
        vectors = [[(kinds[number] + row + column) % 5 - 1.0 for column in range(3)] for row in range(len(plain))]
        # Some frames come without embeddings, some without an image.
        detections = Detections(
            plain.xyxy, plain.scores, plain.class_ids, vectors if kinds[number] and vectors else None
        )
        image = (
            np.ascontiguousarray(np.roll(ground, 2 * kinds[number], axis=1)) if images and kinds[number] != 1 else None
        )
        if number == cut:
            cut_short = Tracker.restore(cut_short.state())
        assert_equal(whole.update(detections, moment, image), cut_short.update(detections, moment, image))
        assert whole.state() == cut_short.state()


def test_cameras_share_nothing() -> None:
    alone, first, second = Tracker(), Tracker(), Tracker()
    for frame, detections in enumerate(shaken_scene(20)):
        expected = alone.update(detections, at(frame))
        assert_equal(expected, first.update(detections, at(frame)))
        second.update(seen(person(5 * frame)), at(3 * frame))
        assert alone.state() == first.state()


def test_state_is_small() -> None:
    tracker = Tracker()
    boxes = [[30 * (i % 20), 60 * (i // 20), 30 * (i % 20) + 20, 60 * (i // 20) + 50] for i in range(200)]
    tracker.update(Detections(boxes, [0.9] * 200, [0] * 200), START)
    assert len(tracker.state()) < 250 * 200


def good_state() -> bytes:
    tracker = Tracker()
    tracker.update(seen(person(100), person(300)), START)
    return tracker.state()


def altered(index: int, value: object) -> bytes:
    fields = msgspec.msgpack.decode(good_state())
    fields[index] = value
    return msgspec.msgpack.encode(fields)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"not a state",
        good_state()[:-1],
        good_state() + b"\x00",
        altered(0, 2),
        altered(1, {"high_score": 7.0}),
        altered(2, 1),
        altered(3, 5),
        altered(4, (float("nan"), 0.0)),
        altered(5, 3),
        altered(6, b"\xff" * len(msgspec.msgpack.decode(good_state())[6])),
        altered(7, bytes(len(msgspec.msgpack.decode(good_state())[7]) - 8)),
        altered(8, 3),
        altered(9, b"1234"),
        altered(10, (2, 2)),
        altered(11, b"no zlib"),
        msgspec.msgpack.encode({"version": 1}),
    ],
)
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="tracker state"):
        Tracker.restore(data)


def test_a_state_from_before_the_options_is_still_read() -> None:
    fields = msgspec.msgpack.decode(good_state())
    for name in ("appearance", "camera_motion"):
        del fields[1][name]
    assert Tracker.restore(msgspec.msgpack.encode(fields[:8])).state() == good_state()


def test_looks_can_be_forgotten_and_identities_stay() -> None:
    tracker = Tracker(msgspec.structs.replace(WITH_LOOKS, confirm_hits=1))
    for frame in range(5):
        tracker.update(looking(person(100), looks=[0]), at(frame))
    tracker.forget_looks()
    seen = tracker.update(Detections([person(100)[0]], [0.9], [0], [[0, 0, 1]]), at(5))
    assert seen.track_ids.tolist() == [1]


def test_a_restored_tracker_goes_on_with_other_settings() -> None:
    narrow, wide = (TrackerSettings(camera_motion=CameraMotionSettings(width_px=width)) for width in (64, 96))
    tracker = Tracker(narrow)
    image = np.random.default_rng(1).integers(0, 255, (96, 128, 3), np.uint8)
    seen = Detections([[10, 10, 30, 60]], [0.99], [0])
    first = tracker.update(seen, at(1), image)
    again = Tracker.restore(tracker.state(), wide)
    assert again.settings == wide
    assert again.update(seen, at(2), image).track_ids.tolist() == first.track_ids.tolist() == [1]
