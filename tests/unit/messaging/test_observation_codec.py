from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pathcast.core import Detections, Forecast, ForecastScore, FrameTracks, Observation
from pathcast.core.classifications import Classifications
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS, METRES
from pathcast.messaging.observation_codec import (
    decode_observation,
    encode_observation,
    observation_record,
    read_observation,
)
from pathcast.messaging.records import Record

GOLDEN = Path(__file__).parents[2] / "golden" / "messages"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def sample_observation() -> Observation:
    """Every field in use, with values that no rounding survives by luck."""
    detections = Detections([[0.1, 0.2, 10.3, 20.4], [5, 6, 7, 8]], [0.9, 0.30000001], [0, 5], np.eye(2) / 3)
    tracks = FrameTracks([3, 2**40], [[0.1, 0.2, 10.3, 20.4], [1, 2, 3, 4]], [0.9, 0.5], [0, 2], [0, -1])
    paths = np.linspace(-1, 1 / 3, 2 * FUTURE_STEPS * 2).reshape(2, FUTURE_STEPS, 2)
    forecast = Forecast(
        "gate-1", 3, 0, 4_400_000_000, [1.5, -0.1], [0.3, 1e-7], paths, [-0.1, -2.5], METRES, "lstm", "3"
    )
    scored = ForecastScore(
        "gate-1", 3, 0, 4_399_999_988, "lstm", "3", METRES, "scored", 12, 0.1, 0.2, 0.1, 1 / 3, 0.5, 0.25
    )
    ended = ForecastScore(
        "gate-1", 9, 0, 4_399_999_980, "lstm", "2", METRES, "track_ended", 0, None, None, None, None, None, None
    )
    return Observation(
        "gate-1",
        42,
        datetime(2026, 3, 1, 12, 0, 0, 142857, tzinfo=UTC),
        768,
        576,
        "detector",
        "7",
        detections,
        tracks,
        np.array([[1.5, -0.1], [2 / 3, 1e9]]),
        METRES,
        (forecast,),
        (scored, ended),
        TRACE,
        brightness=119.9 / 3,
        sharpness=0.0,
        classifications=(Classifications("signs", "4", [1], [14], [0.30000001]),),
        appearance=np.array([0.6, -1 / 3, 0.30000001], np.float32),
    )


def empty_observation() -> Observation:
    """A frame with nothing in it."""
    tracks = FrameTracks([], [], [], [], [])
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    return Observation(
        "c", 0, moment, 1, 1, "detector", "1", Detections.empty(), tracks, np.empty((0, 2)), "frame_heights"
    )


def plain(value: Any) -> Any:
    """A structure that `==` compares bit by bit."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (Observation, Detections, FrameTracks, Forecast, ForecastScore, Classifications)):
        return {name: plain(getattr(value, name)) for name in value.__slots__}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


def as_record(value: bytes, key: bytes | None = b"gate-1") -> Record:
    return Record("observations", 0, 0, 0, key, value, ())


@pytest.mark.parametrize("observation", [sample_observation(), empty_observation()])
def test_round_trip_is_exact(observation: Observation) -> None:
    assert plain(decode_observation(encode_observation(observation))) == plain(observation)


def finite(width: int, shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    elements = st.floats(-1e6, 1e6, width=width, allow_nan=False)
    return hnp.arrays(np.dtype(f"f{width // 8}"), shape, elements=elements)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    n_detections, n_tracks = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    corners = np.sort(draw(finite(32, (n_detections, 2, 2))), axis=1).reshape(n_detections, 4)
    scores = draw(hnp.arrays(np.float32, n_detections, elements=st.floats(0, 1, width=32)))
    detections = Detections(corners, scores, draw(hnp.arrays(np.int64, n_detections)))
    ids = np.array(sorted(draw(st.sets(st.integers(0, 2**62), min_size=n_tracks, max_size=n_tracks))), np.int64)
    rows = draw(hnp.arrays(np.int64, n_tracks, elements=st.integers(-1, n_detections - 1)))
    boxes, confidences = draw(finite(32, (n_tracks, 4))), draw(finite(32, (n_tracks,)))
    tracks = FrameTracks(ids, boxes, confidences, draw(hnp.arrays(np.int64, n_tracks)), rows)
    # Of each few, so that some forecasts were made together.
    steps = st.sampled_from([draw(st.integers(0, 2**40)), 7])
    models = st.sampled_from([draw(st.text(max_size=8)), "forecaster"])
    forecasts = tuple(
        Forecast(
            "gate-1",
            int(track_id),
            0,
            draw(steps),
            draw(finite(32, (2,))),
            draw(finite(32, (2,))),
            draw(finite(32, (n_modes, FUTURE_STEPS, 2))),
            draw(finite(32, (n_modes,))),
            METRES,
            draw(models),
            "1",
        )
        for track_id in ids
        for n_modes in [draw(st.integers(1, 2))]
    )
    moment = draw(st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    positions = draw(finite(64, (n_tracks, 2)))
    sequence = draw(st.integers(0, 2**60))
    head = ("gate-1", sequence, moment, 64, 48, "detector", "1", detections, tracks, positions, METRES, forecasts)
    measured = st.none() | st.floats(0, 255)
    asked = draw(st.lists(st.sampled_from(["", "signs", "makes"]), min_size=n_detections, max_size=n_detections))
    said = []
    for model in sorted(set(asked) - {""}):
        rows = [row for row, name in enumerate(asked) if name == model]
        ids = draw(hnp.arrays(np.int64, len(rows), elements=st.integers(0, 2**40)))
        said.append(Classifications(model, draw(st.text(max_size=4)), rows, ids, scores[rows]))
    appearance = draw(st.none() | finite(32, (draw(st.integers(1, 5)),)))
    return Observation(
        *head,
        brightness=draw(measured),
        sharpness=draw(measured),
        classifications=tuple(said),
        appearance=appearance,
    )


@given(observations())
def test_any_observation_survives_exactly(observation: Observation) -> None:
    assert plain(decode_observation(encode_observation(observation))) == plain(observation)


def test_bytes_of_schema_4_stay_as_released() -> None:
    assert encode_observation(sample_observation()) == (GOLDEN / "observation_v4.msgpack").read_bytes()


@pytest.mark.parametrize(
    ("version", "added"),
    [
        (1, {"brightness": None, "sharpness": None, "classifications": (), "appearance": None}),
        (2, {"classifications": (), "appearance": None}),
        (3, {"appearance": None}),
        (4, {}),
    ],
)
def test_golden_bytes_stay_readable(version: int, added: dict[str, Any]) -> None:
    golden = (GOLDEN / f"observation_v{version}.msgpack").read_bytes()
    assert plain(decode_observation(golden)) == plain(replace(sample_observation(), **added))


def test_record_carries_key_and_trace() -> None:
    record = observation_record(sample_observation())
    assert record.key == b"gate-1"
    assert record.headers == (("schema_version", b"4"), ("traceparent", TRACE.encode("ascii")))


SAID = {
    "model": "signs",
    "model_version": "4",
    "detection_indices": ["<i8", [1], np.array([1]).tobytes()],
    "class_ids": ["<i8", [1], bytes(8)],
    "probabilities": ["<f4", [1], bytes(4)],
}


def forecast(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.msgpack.decode(encode_observation(sample_observation()))["forecasts"][0]
    return made | fields


def changed(**fields: Any) -> bytes:
    message = msgspec.msgpack.decode(encode_observation(sample_observation()))
    for path, value in fields.items():
        *parents, last = path.split("__")
        target = message
        for parent in parents:
            target = target[int(parent) if parent.isdigit() else parent]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    return msgspec.msgpack.encode(message)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xd8not msgpack", "not a versioned msgpack map"),
        (msgspec.msgpack.encode([1, 2]), "not a versioned msgpack map"),
        (msgspec.msgpack.encode({"camera_id": "gate-1"}), "not a versioned msgpack map"),
        (changed(schema=5), "expected schema 1, 2, 3, 4, got 5"),
        (changed(schema=True), "not a versioned msgpack map"),
        (changed(camera_id="Gate 1"), "camera id"),
        (changed(camera_id=...), "camera_id"),
        (changed(sequence=-1), "sequence"),
        (changed(sequence="1"), "sequence"),
        (changed(width=0), "positive size"),
        (changed(captured_at=2**63), "observation of schema 4"),
        (changed(units="feet"), "units"),
        (changed(traceparent="00-1"), "traceparent"),
        (changed(detections__scores=["<f4", [3], bytes(12)]), "scores: expected shape"),
        (changed(detections__scores=["<f4", [2], bytes(7)]), "expected 8 bytes"),
        (changed(detections__scores=["<f4", [-2, -1], bytes(8)]), "detections.scores"),
        (changed(detections__scores=["<f8", [2], bytes(16)]), "expected values of <f4"),
        (changed(detections__scores=["|O", [2], bytes(16)]), "observation of schema 4"),
        (changed(classifications=...), "classifications"),
        (changed(classifications__0__class_ids=["<i8", [2], bytes(16)]), "class_ids: expected shape"),
        (
            changed(classifications__0__detection_indices=["<i8", [1], np.array([2]).tobytes()]),
            "expected each of 0 to 1",
        ),
        (changed(classifications__0__detection_indices=["<i8", [1], np.array([-1]).tobytes()]), "ascending rows"),
        (changed(classifications__0__probabilities=["<f4", [1], np.full(1, 2, "<f4").tobytes()]), r"in \[0, 1\]"),
        (changed(classifications=[SAID, SAID]), "once at the most"),
        (changed(forecasts=[forecast(origin=["<f4", [3], bytes(12)])]), "origin: expected shape"),
        (
            changed(forecasts=[forecast(), forecast(origin=["<f4", [9], bytes(8)])]),
            r"as the first .* got <f4 of \(9,\)",
        ),
        (changed(forecasts=[forecast(), forecast(origin=["<f4", [2], bytes(4)])]), "as the first .* in 4$"),
        (changed(forecasts=[forecast(), forecast(log_probs=["<f8", [2], bytes(16)])]), "log_probs: .* got <f8"),
        (
            changed(forecasts=[forecast(paths=["<f4", [2, 12, 2], np.full(48, np.nan, "<f4").tobytes()])]),
            "paths: row 0 is not finite",
        ),
        (changed(brightness=-1.0), "brightness"),
        (changed(brightness=float("nan")), "brightness"),
        (changed(sharpness=...), "sharpness"),
        (changed(sharpness="12"), "sharpness"),
        (changed(appearance=...), "appearance"),
        (changed(appearance=["<f4", [1, 1], bytes(4)]), "appearance: expected shape"),
        (changed(appearance=["<f4", [0], b""]), "appearance: expected"),
        (changed(appearance=["<f4", [1], np.full(1, np.nan, "<f4").tobytes()]), "appearance: row 0 is not finite"),
        (changed(detections__scores=["<f4", [2], np.full(2, 2, "<f4").tobytes()]), r"expected values in \[0, 1\]"),
        (changed(tracks__track_ids=["<i8", [2], bytes(16)]), "unique ids"),
        (changed(tracks__detection_indices=["<i8", [2], np.array([0, 2]).tobytes()]), "detection_indices"),
        (changed(tracks__positions=["<f8", [2, 2], np.full(4, np.nan).tobytes()]), "not finite"),
        (changed(tracks__positions=["<f8", [1, 2], bytes(16)]), "positions: expected shape"),
        (changed(detector="x" * 201), "length <= 200"),
        (changed(forecasts__0__model="x" * 201), "length <= 200"),
        (changed(scores__0__model_version="x" * 201), "length <= 200"),
        (b"\x82\xa6schema\x04\xa1x" + b"\x91" * 2000 + b"\xc0", "recursion"),
        (encode_observation(sample_observation())[:-1], "observation"),
        (encode_observation(sample_observation()) + b"x", "observation"),
    ],
)
def test_bad_bytes(value: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        read_observation(as_record(value))


@given(st.binary(max_size=400))
def test_any_bytes_are_rejected_with_the_one_error(value: bytes) -> None:
    with pytest.raises(InvalidInputError):
        read_observation(as_record(value))


@given(st.data())
def test_any_flipped_byte_is_read_or_rejected_but_never_crashes(data: st.DataObject) -> None:
    whole = bytearray(encode_observation(sample_observation()))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        decode_observation(bytes(whole))
    except InvalidInputError:
        pass


@pytest.mark.parametrize("key", [None, b"gate-2"])
def test_key_must_be_the_camera(key: bytes | None) -> None:
    with pytest.raises(InvalidInputError, match="key: expected camera 'gate-1'"):
        read_observation(as_record(encode_observation(sample_observation()), key))


def test_unset_trace_stays_unset() -> None:
    observation = replace(sample_observation(), traceparent="")
    assert decode_observation(encode_observation(observation)).traceparent == ""
