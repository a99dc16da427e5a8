"""Bulk writes: many rows and the stream position that they belong to, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql

from pathcast.core.arrays import Float32Array, Int64Array
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.observation import Observation
from pathcast.core.trajectory import FUTURE_STEPS
from pathcast.storage.columns import Column, TimeColumn, register_columns
from pathcast.storage.connection import database_errors
from pathcast.storage.frame_rows import FrameRow
from pathcast.storage.positions import StreamPosition, write_offset

_COORDINATES_PER_PATH = 2 * FUTURE_STEPS
# Writers that meet insert in the same order, the leading key columns first, so they wait and never deadlock.
_ORDERING_COLUMNS = 5

_NO_LOOK = np.zeros(0, np.float32)

Values = Column | list[str] | list[bytes]


@dataclass(frozen=True, slots=True)
class WriteCount:
    """Rows that were new, and rows whose key was stored before (they were left as they were)."""

    inserted: int
    duplicate: int


def write_frames(
    connection: psycopg.Connection, rows: Sequence[FrameRow], position: StreamPosition | None = None
) -> WriteCount:
    """Store archived frames and move the stream's offset, both or neither.

    Writing the same rows again changes nothing; the offset never moves backwards. Raises
    ServiceUnavailableError when the database is not there: nothing was written, repeat it.
    """
    with database_errors(f"write {len(rows)} frame rows"), connection.transaction():
        _begin(connection, [row.captured_at for row in rows], position)
        columns: dict[str, Values] = {
            "camera_id": [row.camera_id for row in rows],
            "captured_at": TimeColumn([row.captured_at for row in rows]),
            "sequence": Column([row.sequence for row in rows], np.int64),
            "width": Column([row.width for row in rows], np.int32),
            "height": Column([row.height for row in rows], np.int32),
            "pack_key": [row.pack_key for row in rows],
            "pack_offset": Column([row.pack_offset for row in rows], np.int64),
            "byte_length": Column([row.byte_length for row in rows], np.int32),
            "sha256": [row.sha256 for row in rows],
        }
        inserted = _insert(connection, "frames", columns).rowcount if rows else 0
    return WriteCount(inserted, len(rows) - inserted)


def write_observations(
    connection: psycopg.Connection, observations: Sequence[Observation], position: StreamPosition | None = None
) -> dict[str, WriteCount]:
    """Store everything in `observations` and move the stream's offset, all or nothing.

    Returns the counts by table: observations, detections, tracks, forecasts, forecast_scores. Of a frame the first
    observation is kept whole: another one of it changes nothing, also where its result is different, as after a
    promotion. The offset never moves backwards. Raises ServiceUnavailableError when the database is not there: nothing
    was written, repeat it.
    """
    moments = chain(
        (observation.captured_at for observation in observations),
        (forecast.made_at for observation in observations for forecast in observation.forecasts),
        (score.made_at for observation in observations for score in observation.scores),
    )
    with database_errors(f"write {len(observations)} observations"), connection.transaction():
        _begin(connection, moments, position)
        new = _write_heads(connection, observations)
        written = {
            "observations": len(new),
            "detections": _write_detections(connection, new),
            "tracks": _write_tracks(connection, new),
            "forecasts": _write_forecasts(connection, [forecast for each in new for forecast in each.forecasts]),
            "forecast_scores": _write_scores(connection, [score for each in new for score in each.scores]),
        }
    return {table: WriteCount(written[table], count - written[table]) for table, count in _rows(observations).items()}


def _rows(observations: Sequence[Observation]) -> dict[str, int]:
    """How many rows the observations are, by table."""
    return {
        "observations": len(observations),
        "detections": sum(len(each.detections) for each in observations),
        "tracks": sum(len(each.tracks) for each in observations),
        "forecasts": sum(len(each.forecasts) for each in observations),
        "forecast_scores": sum(len(each.scores) for each in observations),
    }


def _begin(connection: psycopg.Connection, moments: Iterable[datetime], position: StreamPosition | None) -> None:
    register_columns(connection)
    # First, because its row lock makes two processes that took the same partition go one after the other.
    if position is not None:
        write_offset(connection, position)
    days = {moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in moments}
    if days:
        connection.execute("SELECT ensure_partitions(%s)", (TimeColumn(sorted(days)),))


def _insert(
    connection: psycopg.Connection,
    table: str,
    columns: Mapping[str, Values],
    expressions: Mapping[str, str] | None = None,
    arrays: Mapping[str, Column] | None = None,
    returning: Sequence[str] = (),
) -> psycopg.Cursor[Any]:
    """Insert parallel `columns`, not empty, key columns first; rows whose key is stored already stay as they are.

    The cursor counts the new rows, and has their columns `returning`. `expressions` are target columns computed in SQL
    from `columns` (those whose names begin with `_` serve only that) and from the whole `arrays`, which they name as
    parameters.
    """
    computed = expressions or {}
    inputs = [name for name in columns if not name.startswith("_")]
    targets = [name for name in inputs if name not in computed] + list(computed)
    selected = [sql.SQL(computed[name]) if name in computed else sql.Identifier(name) for name in targets]
    statement = sql.SQL(
        "INSERT INTO {table} ({targets}) SELECT {selected} FROM unnest({values}) AS given ({names}) "
        "ORDER BY {order} ON CONFLICT DO NOTHING{returning}"
    ).format(
        table=sql.Identifier(table),
        targets=sql.SQL(", ").join(map(sql.Identifier, targets)),
        selected=sql.SQL(", ").join(selected),
        values=sql.SQL(", ").join(
            sql.Placeholder(name) + sql.SQL(_array_cast(values)) for name, values in columns.items()
        ),
        names=sql.SQL(", ").join(map(sql.Identifier, columns)),
        order=sql.SQL(", ").join(map(sql.Identifier, list(columns)[:_ORDERING_COLUMNS])),
        returning=sql.SQL(" RETURNING " if returning else "") + sql.SQL(", ").join(map(sql.Identifier, returning)),
    )
    return connection.execute(statement, {**columns, **(arrays or {})})


def _array_cast(values: Values) -> str:
    if isinstance(values, Column):
        return ""
    return "::bytea[]" if isinstance(values[0], bytes) else "::text[]"


def _write_heads(connection: psycopg.Connection, given: Sequence[Observation]) -> list[Observation]:
    """The observations whose frame had none before; of several of one frame the first."""
    of_frame: dict[tuple[str, datetime], Observation] = {}
    for each in given:
        of_frame.setdefault((each.camera_id, each.captured_at), each)
    observations = list(of_frame.values())
    if not observations:
        return []
    columns: dict[str, Values] = {
        "camera_id": [each.camera_id for each in observations],
        "captured_at": TimeColumn([each.captured_at for each in observations]),
        "sequence": Column([each.sequence for each in observations], np.int64),
        "width": Column([each.width for each in observations], np.int32),
        "height": Column([each.height for each in observations], np.int32),
        "detector": [each.detector for each in observations],
        "detector_version": [each.detector_version for each in observations],
        "detection_count": Column([len(each.detections) for each in observations], np.int16),
        "track_count": Column([len(each.tracks) for each in observations], np.int16),
        "forecast_count": Column([len(each.forecasts) for each in observations], np.int16),
        "score_count": Column([len(each.scores) for each in observations], np.int16),
        "brightness": _nullable([each.brightness for each in observations], np.float32),
        "sharpness": _nullable([each.sharpness for each in observations], np.float32),
    }
    looks = [_NO_LOOK if each.appearance is None else each.appearance for each in observations]
    lengths = np.array([len(look) for look in looks], np.int64)
    columns["_length"], columns["_end"] = Column(lengths, np.int32), Column(np.cumsum(lengths), np.int32)
    expressions = {name: f"NULLIF({name}, 'NaN')" for name in ("brightness", "sharpness")}
    expressions["appearance"] = "CASE WHEN _length > 0 THEN (%(all_looks)s)[_end - _length + 1 : _end] END"
    arrays = {"all_looks": Column(np.concatenate([_NO_LOOK, *looks]), np.float32)}
    key = ("camera_id", "captured_at")
    new = set(_insert(connection, "observations", columns, expressions, arrays, returning=key))
    return [each for frame, each in of_frame.items() if frame in new]


def _write_detections(connection: psycopg.Connection, observations: Sequence[Observation]) -> int:
    filled = [each for each in observations if len(each.detections)]
    if not filled:
        return 0
    lengths = [len(each.detections) for each in filled]
    kinds = [_kinds(each) for each in filled]
    columns: dict[str, Values] = {
        "camera_id": _repeat([each.camera_id for each in filled], lengths),
        "captured_at": TimeColumn([each.captured_at for each in filled]).repeat(lengths),
        "detection_index": Column(np.concatenate([np.arange(length) for length in lengths]), np.int16),
        "class_id": Column(np.concatenate([each.detections.class_ids for each in filled]), np.int16),
        "score": Column(np.concatenate([each.detections.scores for each in filled]), np.float32),
        **_box_columns(np.concatenate([each.detections.xyxy for each in filled])),
        "model": _repeat([each.detector for each in filled], lengths),
        "model_version": _repeat([each.detector_version for each in filled], lengths),
        "classifier": [name for names, _, _, _ in kinds for name in names],
        "classifier_version": [version for _, versions, _, _ in kinds for version in versions],
        "kind_id": Column(np.concatenate([ids for _, _, ids, _ in kinds]), np.int16),
        "kind_probability": Column(np.concatenate([values for _, _, _, values in kinds]), np.float32),
    }
    absent = {"classifier": "''", "classifier_version": "''", "kind_id": "-1", "kind_probability": "'NaN'"}
    computed = {name: f"NULLIF({name}, {value})" for name, value in absent.items()}
    return int(_insert(connection, "detections", columns, computed).rowcount)


def _kinds(observation: Observation) -> tuple[list[str], list[str], Int64Array, Float32Array]:
    """For each detection the classifier that was asked, its version, the class it said and how sure it was."""
    count = len(observation.detections)
    names, versions = [""] * count, [""] * count
    ids, values = np.full(count, -1, np.int64), np.full(count, np.nan, np.float32)
    for said in observation.classifications:
        rows = said.detection_indices
        ids[rows], values[rows] = said.class_ids, said.probabilities
        for row in rows.tolist():
            names[row], versions[row] = said.model, said.model_version
    return names, versions, ids, values


def _write_tracks(connection: psycopg.Connection, observations: Sequence[Observation]) -> int:
    filled = [each for each in observations if len(each.tracks)]
    if not filled:
        return 0
    lengths = [len(each.tracks) for each in filled]
    positions = np.concatenate([each.positions for each in filled])
    columns: dict[str, Values] = {
        "camera_id": _repeat([each.camera_id for each in filled], lengths),
        "captured_at": TimeColumn([each.captured_at for each in filled]).repeat(lengths),
        "track_id": Column(np.concatenate([each.tracks.track_ids for each in filled]), np.int64),
        "class_id": Column(np.concatenate([each.tracks.class_ids for each in filled]), np.int16),
        "score": Column(np.concatenate([each.tracks.scores for each in filled]), np.float32),
        **_box_columns(np.concatenate([each.tracks.xyxy for each in filled])),
        "x": Column(positions[:, 0], np.float64),
        "y": Column(positions[:, 1], np.float64),
        "units": _repeat([each.units for each in filled], lengths),
        "detection_index": Column(np.concatenate([each.tracks.detection_indices for each in filled]), np.int16),
    }
    computed = {"detection_index": "NULLIF(detection_index, -1)"}
    return int(_insert(connection, "tracks", columns, computed).rowcount)


def _write_forecasts(connection: psycopg.Connection, forecasts: Sequence[Forecast]) -> int:
    """Paths and log probabilities vary in number, so each is sent as one array and cut by the server."""
    if not forecasts:
        return 0
    modes = np.array([len(each.paths) for each in forecasts])
    origins = np.stack([each.origin for each in forecasts])
    velocities = np.stack([each.velocity for each in forecasts])
    columns: dict[str, Values] = {
        "camera_id": [each.camera_id for each in forecasts],
        "made_at": TimeColumn([each.made_at for each in forecasts]),
        "track_id": Column([each.track_id for each in forecasts], np.int64),
        "model": [each.model for each in forecasts],
        "model_version": [each.model_version for each in forecasts],
        "class_id": Column([each.class_id for each in forecasts], np.int16),
        "made_at_step": Column([each.made_at_step for each in forecasts], np.int64),
        "modes": Column(modes, np.int16),
        "units": [each.units for each in forecasts],
        "_last_mode": Column(np.cumsum(modes), np.int32),
        "_origin_x": Column(origins[:, 0], np.float32),
        "_origin_y": Column(origins[:, 1], np.float32),
        "_velocity_x": Column(velocities[:, 0], np.float32),
        "_velocity_y": Column(velocities[:, 1], np.float32),
    }
    cut = f"(_last_mode - modes) * {_COORDINATES_PER_PATH} + 1 : _last_mode * {_COORDINATES_PER_PATH}"
    expressions = {
        "origin": "ARRAY[_origin_x, _origin_y]",
        "velocity": "ARRAY[_velocity_x, _velocity_y]",
        "paths": f"(%(all_paths)s)[{cut}]",
        "log_probs": "(%(all_log_probs)s)[_last_mode - modes + 1 : _last_mode]",
    }
    arrays = {
        "all_paths": Column(np.concatenate([each.paths.ravel() for each in forecasts]), np.float32),
        "all_log_probs": Column(np.concatenate([each.log_probs for each in forecasts]), np.float32),
    }
    return int(_insert(connection, "forecasts", columns, expressions, arrays).rowcount)


def _write_scores(connection: psycopg.Connection, scores: Sequence[ForecastScore]) -> int:
    if not scores:
        return 0
    columns: dict[str, Values] = {
        "camera_id": [each.camera_id for each in scores],
        "made_at": TimeColumn([each.made_at for each in scores]),
        "track_id": Column([each.track_id for each in scores], np.int64),
        "model": [each.model for each in scores],
        "model_version": [each.model_version for each in scores],
        "class_id": Column([each.class_id for each in scores], np.int16),
        "made_at_step": Column([each.made_at_step for each in scores], np.int64),
        "status": [str(each.status) for each in scores],
        "steps": Column([each.steps for each in scores], np.int16),
        "units": [each.units for each in scores],
    }
    errors = ("ade", "fde", "best_ade", "best_fde", "constant_velocity_ade", "constant_velocity_fde")
    for name in errors:
        columns[name] = _nullable([getattr(each, name) for each in scores], np.float64)
    computed = {name: f"NULLIF({name}, 'NaN')" for name in errors}
    return int(_insert(connection, "forecast_scores", columns, computed).rowcount)


def _box_columns(xyxy: npt.NDArray[np.float32]) -> dict[str, Values]:
    return {name: Column(xyxy[:, axis], np.float32) for axis, name in enumerate(("x1", "y1", "x2", "y2"))}


def _nullable(values: Sequence[float | None], dtype: npt.DTypeLike) -> Column:
    """NaN for None: the statement makes it NULL."""
    return Column([np.nan if value is None else value for value in values], dtype)


def _repeat(values: list[str], lengths: list[int]) -> list[str]:
    return [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
