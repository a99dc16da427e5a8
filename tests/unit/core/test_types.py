"""The core types refuse what their formats do not promise, and keep what they are given."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core import Detections, Forecast, Frame, FrameTracks, InvalidInputError, Track, Trajectory
from pathcast.core.array_codec import decode_state, encode_state
from pathcast.core.clock import ManualClock, from_nanoseconds, to_nanoseconds
from pathcast.core.trajectory import STEP, step_index, step_time

NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([[0, 0, 1]], [0.5], [0]), r"xyxy: expected shape \('n', 4\), got \(1, 3\)"),
        (([[0, 0, 1, 1]], [0.5, 0.6], [0]), r"scores: expected shape \(1,\)"),
        (([[0, 0, 1, 1]], [0.5], [0, 1]), "class_ids"),
        (([[0, 0, 1, 1]], [1.5], [0]), r"scores: expected values in \[0, 1\]"),
        (([[0, 0, 1, 1]], [float("nan")], [0]), "scores"),
        (([[0, 0, float("inf"), 1]], [0.5], [0]), "row 0 is not finite"),
        (([[0, 0, 1, 1], [5, 0, 1, 1]], [0.5, 0.5], [0, 0]), "row 1 has right < left"),
        (([[0, 0, 1, 1]], [0.5], [0], [[1.0], [2.0]]), "embeddings"),
    ],
)
def test_detections_refuse(arguments, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        Detections(*arguments)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_detections_select_and_are_read_only(count):
    detections = Detections(np.tile([0, 0, 4, 8], (count, 1)), np.linspace(0, 1, count), np.arange(count))
    assert len(detections) == count
    chosen = detections.select(detections.class_ids != 1)
    assert chosen.class_ids.tolist() == [index for index in range(count) if index != 1]
    with pytest.raises(ValueError, match="read-only"):
        detections.xyxy[:] = 1


@pytest.mark.parametrize("camera_id", ["", "Gate", "a/b", "x" * 64, "-a", "a b"])
def test_camera_ids_are_narrow(camera_id):
    with pytest.raises(InvalidInputError, match="camera id"):
        Frame(camera_id, 0, NOON, 4, 4, b"x")


@pytest.mark.parametrize("moment", [NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=2)))])
def test_times_are_aware_utc(moment):
    with pytest.raises(InvalidInputError, match="aware UTC"):
        Frame("gate", 0, moment, 4, 4, b"x")


def test_frame_tracks_have_unique_ids():
    with pytest.raises(InvalidInputError, match="unique"):
        FrameTracks([1, 1], np.zeros((2, 4)), [1, 1], [0, 0], [0, 1])


def test_a_track_moves_forward_in_time():
    with pytest.raises(InvalidInputError, match="strictly increase"):
        Track("gate", 1, 0, (NOON, NOON), np.zeros((2, 4)), np.zeros((2, 2)), "m")


def test_units_are_known():
    with pytest.raises(InvalidInputError, match="units"):
        Trajectory("gate", 1, 0, 0, [[0, 0]], "furlongs")


def test_a_trajectory_has_no_holes():
    with pytest.raises(InvalidInputError, match="track 7 of gate: positions: row 1"):
        Trajectory("gate", 7, 0, 0, [[0, 0], [np.nan, 0]], "m")


def test_the_most_likely_path_is_the_first_of_the_best():
    paths = np.zeros((3, 12, 2))
    paths[1], paths[2] = 1, 2
    forecast = Forecast("gate", 1, 0, 5, [0, 0], [0, 0], paths, [-2.0, -0.5, -0.5], "m", "forecaster", "1")
    assert forecast.most_likely_path[0].tolist() == [1, 1]
    assert forecast.made_at == step_time(5)


def test_forecasts_made_together_are_those_made_one_by_one():
    random = np.random.default_rng(3)
    own = [random.normal(size=(3, *shape)).astype(np.float32) for shape in ((2,), (2,), (4, 12, 2), (4,))]
    assert Forecast.made_together("gate", [], [], 5, *(array[:0] for array in own), "m", "forecaster", "1") == ()
    together = Forecast.made_together("gate", [4, 9, 2], [0, 1, 0], 5, *own, "m", "forecaster", "1")
    for row, (made, track_id, class_id) in enumerate(zip(together, (4, 9, 2), (0, 1, 0), strict=True)):
        alone = Forecast("gate", track_id, class_id, 5, *(array[row] for array in own), "m", "forecaster", "1")
        for field in dataclasses.fields(Forecast):
            value, expected = getattr(made, field.name), getattr(alone, field.name)
            np.testing.assert_array_equal(value, expected)
            assert not isinstance(value, np.ndarray) or (value.dtype == expected.dtype and not value.flags.writeable)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"paths": np.full((2, 3, 12, 2), np.nan)}, "forecasts of tracks 1, 2 of gate: paths: row 0"),
        ({"paths": np.zeros((3, 3, 12, 2))}, "paths: expected shape"),
        ({"log_probs": np.zeros((2, 4))}, "log_probs"),
        ({"origins": np.zeros((1, 2))}, "origin"),
        ({"class_ids": [0]}, "class_ids: expected one for each of 2 tracks, got 1"),
        ({"units": "furlongs"}, "furlongs"),
    ],
)
def test_forecasts_made_together_must_fit_each_other(changes, expected):
    arrays = {"origins": np.zeros((2, 2)), "velocities": np.zeros((2, 2)), "paths": np.zeros((2, 3, 12, 2))}
    values = arrays | {"log_probs": np.zeros((2, 3)), "units": "m", "class_ids": [0, 0]} | changes
    with pytest.raises(InvalidInputError, match=expected):
        Forecast.made_together("gate", [1, 2], made_at_step=5, model="forecaster", model_version="1", **values)


@given(st.integers(0, 253_402_300_799_999_999))
def test_nanoseconds_round_trip(microseconds):
    assert to_nanoseconds(from_nanoseconds(microseconds * 1000)) == microseconds * 1000


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_moment_lies_within_its_step(naive):
    moment = naive.replace(tzinfo=UTC)
    assert step_time(step_index(moment)) <= moment < step_time(step_index(moment)) + STEP


def test_a_manual_clock_moves_when_told():
    clock = ManualClock(NOON)
    clock.sleep(1.5)
    clock.sleep(-1)
    assert clock.now() == NOON + timedelta(seconds=1.5)


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(), st.text())),
    st.lists(st.floats(allow_nan=False), max_size=5),
)
def test_state_round_trip(values, numbers):
    array = np.asarray(numbers, dtype=np.float64).reshape(-1, 1)
    again, arrays = decode_state(encode_state("thing", 2, values, {"numbers": array}), "thing", 2)
    assert again == values
    np.testing.assert_array_equal(arrays["numbers"], array)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "not readable"),
        (encode_state("other", 2, {}, {}), "got other version 2"),
        (encode_state("thing", 1, {}, {}), "got thing version 1"),
        (encode_state("thing", 2, {}, {"a": np.asarray(["text"])}), "not numeric"),
        (encode_state("thing", 2, {}, {"a": np.zeros(3)}).replace(b"\x91\x03", b"\x91\x04"), "array 'a'"),
    ],
)
def test_damaged_state_is_named(data, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        decode_state(data, "thing", 2)
