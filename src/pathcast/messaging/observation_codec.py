"""Observations topic: one msgpack map per frame, typed and versioned.

Every version has its own structs, which never change once released; a reader knows all versions, a
writer writes the newest. `schema` is in every version and picks the structs. Arrays travel as raw
little-endian bytes with type and shape, so floats are exact and a frame stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import frozen_array, require_finite
from pathcast.core.classifications import Classifications
from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.frame import check_camera_id
from pathcast.core.observation import Observation
from pathcast.core.track import FrameTracks
from pathcast.core.trajectory import check_units
from pathcast.messaging.records import MAX_VALUE_BYTES, OutgoingRecord, Record, checked, sized_value
from pathcast.messaging.trace import check_traceparent

OBSERVATION_SCHEMA_VERSION = 4

_FLOAT32: Final = "<f4"
_FLOAT64: Final = "<f8"
_INT64: Final = "<i8"


_NATIVE = {name: np.dtype(name).newbyteorder("=") for name in ("<f4", "<f8", "<i8")}


class _Array(msgspec.Struct, frozen=True, array_like=True):
    """`dtype` in numpy's notation, `shape`, and the values' little-endian bytes in C order."""

    dtype: Literal["<f4", "<f8", "<i8"]
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, dtype: Literal["<f4", "<f8", "<i8"], values: npt.ArrayLike) -> _Array:
        array = np.ascontiguousarray(values, dtype=dtype)
        return cls(dtype, array.shape, array.tobytes())

    def values(self, name: str, dtype: str) -> npt.NDArray[np.generic]:
        if self.dtype != dtype:
            raise InvalidInputError(f"{name}: expected values of {dtype}, got {self.dtype}")
        native = _NATIVE[dtype]
        expected = native.itemsize
        for length in self.shape:
            expected *= length
        if min(self.shape, default=0) < 0 or len(self.data) != expected:
            raise InvalidInputError(f"{name}: expected {expected} bytes for {self.shape}, got {len(self.data)}")
        # Without a copy where the machine is little-endian: read-only, as the core types keep their arrays.
        return np.ndarray(self.shape, dtype, self.data).astype(native, copy=False)

    @classmethod
    def stacked(cls, name: str, dtype: str, arrays: Sequence[_Array]) -> npt.NDArray[np.generic]:
        """The values of arrays that must be of one shape, along a new first axis."""
        first = arrays[0]
        alike = (first.dtype, first.shape, len(first.data))
        for each in arrays:
            if (each.dtype, each.shape, len(each.data)) != alike:
                raise InvalidInputError(
                    f"{name}: expected {first.dtype} of {first.shape} in {len(first.data)} bytes, as the first of its "
                    f"batch, got {each.dtype} of {each.shape} in {len(each.data)}"
                )
        shape = (len(arrays), *first.shape)
        return cls(first.dtype, shape, b"".join([each.data for each in arrays])).values(name, dtype)


_Name = Annotated[str, msgspec.Meta(max_length=200)]
"""Names of models and versions are in the keys of tables, whose rows have a limit."""


class _DetectionsV1(msgspec.Struct, frozen=True):
    xyxy: _Array
    scores: _Array
    class_ids: _Array
    embeddings: _Array | None


class _TracksV1(msgspec.Struct, frozen=True):
    track_ids: _Array
    xyxy: _Array
    scores: _Array
    class_ids: _Array
    detection_indices: _Array
    positions: _Array


class _ForecastV1(msgspec.Struct, frozen=True):
    track_id: int
    class_id: int
    made_at_step: int
    origin: _Array
    velocity: _Array
    paths: _Array
    log_probs: _Array
    units: str
    model: _Name
    model_version: _Name


class _ScoreV1(msgspec.Struct, frozen=True):
    track_id: int
    class_id: int
    made_at_step: int
    model: _Name
    model_version: _Name
    units: str
    status: Literal["scored", "track_ended"]
    steps: int
    ade: float | None
    fde: float | None
    best_ade: float | None
    best_fde: float | None
    constant_velocity_ade: float | None
    constant_velocity_fde: float | None


class _ObservationV1(msgspec.Struct, frozen=True):
    schema: Literal[1]
    camera_id: str
    sequence: int
    captured_at: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    width: int
    height: int
    detector: _Name
    detector_version: _Name
    detections: _DetectionsV1
    tracks: _TracksV1
    units: str
    forecasts: tuple[_ForecastV1, ...]
    scores: tuple[_ScoreV1, ...]
    traceparent: str


_Measured = Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None


class _ObservationV2(_ObservationV1, frozen=True):
    """Adds what the image was like."""

    schema: Literal[2]  # type: ignore[assignment]
    brightness: _Measured
    sharpness: _Measured


class _ClassificationsV3(msgspec.Struct, frozen=True):
    model: _Name
    model_version: _Name
    detection_indices: _Array
    class_ids: _Array
    probabilities: _Array


class _ObservationV3(_ObservationV2, frozen=True):
    """Adds of what kind detections are."""

    schema: Literal[3]  # type: ignore[assignment]
    classifications: tuple[_ClassificationsV3, ...]


class _ObservationV4(_ObservationV3, frozen=True):
    """Adds what the tracked objects look like in the mean."""

    schema: Literal[4]  # type: ignore[assignment]
    appearance: _Array | None


class _Version(msgspec.Struct, frozen=True):
    schema: int


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_VERSION_DECODER = msgspec.msgpack.Decoder(_Version)
_V1_DECODER = msgspec.msgpack.Decoder(_ObservationV1)
_V2_DECODER = msgspec.msgpack.Decoder(_ObservationV2)
_V3_DECODER = msgspec.msgpack.Decoder(_ObservationV3)
_V4_DECODER = msgspec.msgpack.Decoder(_ObservationV4)


def encode_observation(observation: Observation) -> bytes:
    """The bytes of an observation in the newest schema; equal observations give equal bytes."""
    detections, tracks = observation.detections, observation.tracks
    embeddings, appearance = detections.embeddings, observation.appearance
    message = _ObservationV4(
        schema=4,
        camera_id=observation.camera_id,
        sequence=observation.sequence,
        captured_at=to_nanoseconds(observation.captured_at),
        width=observation.width,
        height=observation.height,
        detector=observation.detector,
        detector_version=observation.detector_version,
        detections=_DetectionsV1(
            xyxy=_Array.of(_FLOAT32, detections.xyxy),
            scores=_Array.of(_FLOAT32, detections.scores),
            class_ids=_Array.of(_INT64, detections.class_ids),
            embeddings=None if embeddings is None else _Array.of(_FLOAT32, embeddings),
        ),
        tracks=_TracksV1(
            track_ids=_Array.of(_INT64, tracks.track_ids),
            xyxy=_Array.of(_FLOAT32, tracks.xyxy),
            scores=_Array.of(_FLOAT32, tracks.scores),
            class_ids=_Array.of(_INT64, tracks.class_ids),
            detection_indices=_Array.of(_INT64, tracks.detection_indices),
            positions=_Array.of(_FLOAT64, observation.positions),
        ),
        units=observation.units,
        forecasts=tuple(_forecast_message(forecast) for forecast in observation.forecasts),
        scores=tuple(_score_message(score) for score in observation.scores),
        traceparent=observation.traceparent,
        brightness=observation.brightness,
        sharpness=observation.sharpness,
        classifications=tuple(_classifications_message(said) for said in observation.classifications),
        appearance=None if appearance is None else _Array.of(_FLOAT32, appearance),
    )
    return _ENCODER.encode(message)


def decode_observation(value: bytes) -> Observation:
    """The observation in `value`, of any released schema, checked in full.

    Raises InvalidInputError with the reason: not msgpack, an unknown schema, a field missing or of the
    wrong type, arrays whose lengths disagree, a value out of its range.
    """
    try:
        version = _VERSION_DECODER.decode(value).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"observation: not a versioned msgpack map: {error}") from error
    reader = _READERS.get(version)
    if reader is None:
        known = ", ".join(map(str, _READERS))
        raise InvalidInputError(f"observation: expected schema {known}, got {version}")
    try:
        return reader(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as error:
        raise InvalidInputError(f"observation of schema {version}: {error}") from error


def observation_record(observation: Observation) -> OutgoingRecord:
    """The record of an observation. The headers repeat what tools that read no msgpack want to see."""
    headers = [("schema_version", str(OBSERVATION_SCHEMA_VERSION).encode("ascii"))]
    if observation.traceparent:
        headers.append(("traceparent", observation.traceparent.encode("ascii")))
    return OutgoingRecord(observation.camera_id.encode("ascii"), encode_observation(observation), tuple(headers))


def read_observation(record: Record, *, max_bytes: int = MAX_VALUE_BYTES) -> Observation:
    """The observation of a record; the value alone counts, and the key must be its camera."""
    observation = decode_observation(sized_value(checked(record).value, max_bytes))
    if record.key != observation.camera_id.encode("ascii"):
        raise InvalidInputError(f"key: expected camera {observation.camera_id!r:.80}, got {record.key!r:.80}")
    return observation


def _forecast_message(forecast: Forecast) -> _ForecastV1:
    return _ForecastV1(
        track_id=forecast.track_id,
        class_id=forecast.class_id,
        made_at_step=forecast.made_at_step,
        origin=_Array.of(_FLOAT32, forecast.origin),
        velocity=_Array.of(_FLOAT32, forecast.velocity),
        paths=_Array.of(_FLOAT32, forecast.paths),
        log_probs=_Array.of(_FLOAT32, forecast.log_probs),
        units=forecast.units,
        model=forecast.model,
        model_version=forecast.model_version,
    )


def _score_message(score: ForecastScore) -> _ScoreV1:
    return _ScoreV1(*_score_values(score))


def _classifications_message(said: Classifications) -> _ClassificationsV3:
    return _ClassificationsV3(
        model=said.model,
        model_version=said.model_version,
        detection_indices=_Array.of(_INT64, said.detection_indices),
        class_ids=_Array.of(_INT64, said.class_ids),
        probabilities=_Array.of(_FLOAT32, said.probabilities),
    )


def _read_v1(value: bytes) -> Observation:
    return _observation(_V1_DECODER.decode(value))


def _read_v2(value: bytes) -> Observation:
    message = _V2_DECODER.decode(value)
    return _observation(message, message.brightness, message.sharpness)


def _read_v3(value: bytes) -> Observation:
    return _classified(_V3_DECODER.decode(value))


def _read_v4(value: bytes) -> Observation:
    message = _V4_DECODER.decode(value)
    observation = _classified(message)
    if message.appearance is None:
        return observation
    appearance = frozen_array("appearance", message.appearance.values("appearance", _FLOAT32), np.float32, (None,))
    require_finite("appearance", appearance)
    if not len(appearance):
        raise InvalidInputError("appearance: expected numbers, got none")
    return replace(observation, appearance=appearance)


def _classified(message: _ObservationV3) -> Observation:
    said = tuple(_classifications_v3(each) for each in message.classifications)
    observation = _observation(message, message.brightness, message.sharpness, said)
    if not said:
        return observation
    rows = np.concatenate([each.detection_indices for each in said])
    if len(np.unique(rows)) < len(rows) or int(rows.max(initial=-1)) >= len(observation.detections):
        raise InvalidInputError(
            f"classifications.detection_indices: expected each of 0 to {len(observation.detections) - 1} once at the "
            f"most, got {rows}"
        )
    return observation


def _observation(
    message: _ObservationV1,
    brightness: float | None = None,
    sharpness: float | None = None,
    classifications: tuple[Classifications, ...] = (),
) -> Observation:
    camera_id = check_camera_id(message.camera_id)
    if message.sequence < 0 or message.width <= 0 or message.height <= 0:
        raise InvalidInputError(
            f"observation: expected sequence 0 or more and a positive size, "
            f"got {message.sequence} and {message.width}x{message.height}"
        )
    found, seen = message.detections, message.tracks
    detections = Detections(
        found.xyxy.values("detections.xyxy", _FLOAT32),
        found.scores.values("detections.scores", _FLOAT32),
        found.class_ids.values("detections.class_ids", _INT64),
        None if found.embeddings is None else found.embeddings.values("detections.embeddings", _FLOAT32),
    )
    tracks = FrameTracks(
        seen.track_ids.values("tracks.track_ids", _INT64),
        seen.xyxy.values("tracks.xyxy", _FLOAT32),
        seen.scores.values("tracks.scores", _FLOAT32),
        seen.class_ids.values("tracks.class_ids", _INT64),
        seen.detection_indices.values("tracks.detection_indices", _INT64),
    )
    rows = tracks.detection_indices
    if len(rows) and (int(rows.min()) < -1 or int(rows.max()) >= len(detections)):
        raise InvalidInputError(f"tracks.detection_indices: expected -1 to {len(detections) - 1}, got {rows}")
    positions = frozen_array(
        "positions", seen.positions.values("tracks.positions", _FLOAT64), np.float64, (len(tracks), 2)
    )
    require_finite("tracks.positions", positions)
    return Observation(
        camera_id=camera_id,
        sequence=message.sequence,
        captured_at=from_nanoseconds(message.captured_at),
        width=message.width,
        height=message.height,
        detector=message.detector,
        detector_version=message.detector_version,
        detections=detections,
        tracks=tracks,
        positions=positions,
        units=check_units(message.units),
        forecasts=tuple(_forecasts_v1(camera_id, message.forecasts)),
        scores=tuple(_score_v1(camera_id, score) for score in message.scores),
        traceparent=check_traceparent(message.traceparent) if message.traceparent else "",
        brightness=brightness,
        sharpness=sharpness,
        classifications=classifications,
    )


def _classifications_v3(message: _ClassificationsV3) -> Classifications:
    return Classifications(
        message.model,
        message.model_version,
        message.detection_indices.values("classifications.detection_indices", _INT64),
        message.class_ids.values("classifications.class_ids", _INT64),
        message.probabilities.values("classifications.probabilities", _FLOAT32),
    )


def _forecasts_v1(camera_id: str, messages: Sequence[_ForecastV1]) -> Iterator[Forecast]:
    """All forecasts; those made together, which follow each other, are read together, to save time."""
    for (step, units, model, version, _), alike in groupby(messages, key=_made_together):
        together = list(alike)
        yield from Forecast.made_together(
            camera_id,
            [each.track_id for each in together],
            [each.class_id for each in together],
            step,
            _Array.stacked("forecast.origin", _FLOAT32, [each.origin for each in together]),
            _Array.stacked("forecast.velocity", _FLOAT32, [each.velocity for each in together]),
            _Array.stacked("forecast.paths", _FLOAT32, [each.paths for each in together]),
            _Array.stacked("forecast.log_probs", _FLOAT32, [each.log_probs for each in together]),
            units,
            model,
            version,
        )


def _score_v1(camera_id: str, message: _ScoreV1) -> ForecastScore:
    check_units(message.units)
    return ForecastScore(camera_id, *_score_values(message))


_made_together = attrgetter("made_at_step", "units", "model", "model_version", "paths.shape")
_score_values = attrgetter(*_ScoreV1.__struct_fields__)
"""The fields of a score in their order, which is the same in the message and, after the camera, in the core type."""

_READERS: Mapping[int, Callable[[bytes], Observation]] = {1: _read_v1, 2: _read_v2, 3: _read_v3, 4: _read_v4}
