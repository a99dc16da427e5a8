"""What is stored, as core types. Time spans are half open: since ≤ time < until, aware UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Literal

import numpy as np
import psycopg
from psycopg import sql

from pathcast.core.detections import Detections
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.track import Track
from pathcast.core.trajectory import FUTURE_STEPS, Trajectory
from pathcast.storage.connection import database_errors
from pathcast.storage.frame_rows import FrameRow, FrameSpan
from pathcast.storage.resampling import MAX_GAP, resample

Row = tuple[Any, ...]

_FORECAST = "track_id class_id made_at_step origin velocity paths log_probs units model model_version".split()
_SCORE = (
    "track_id class_id made_at_step model model_version units status steps "
    "ade fde best_ade best_fde constant_velocity_ade constant_velocity_fde"
).split()

TIME_SERIES = ("frames", "observations", "detections", "tracks", "forecasts", "forecast_scores")


def read_tracks(
    connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime, *, min_length: int = 1
) -> list[Track]:
    """The camera's tracks of at least `min_length` rows in the span, by track id.

    A track's class is the one most of its rows have. A track that lived through a change of units (the
    camera was calibrated) comes in one part for each unit.
    """
    rows = _read(
        connection,
        "tracks",
        "SELECT track_id, units, captured_at, class_id, x1, y1, x2, y2, x, y FROM tracks "
        "WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s ORDER BY track_id, units, captured_at",
        (camera_id, since, until),
    )
    grouped = ((key, list(group)) for key, group in groupby(rows, key=lambda row: (row[0], row[1])))
    return [_track(camera_id, *key, group) for key, group in grouped if len(group) >= min_length]


def read_trajectories(
    connection: psycopg.Connection,
    camera_id: str,
    since: datetime,
    until: datetime,
    *,
    min_steps: int = 1,
    max_gap: timedelta = MAX_GAP,
) -> list[Trajectory]:
    """The camera's tracks in the span, resampled (see `resample`), of at least `min_steps` grid steps."""
    pieces = (
        piece
        for track in read_tracks(connection, camera_id, since, until)
        for piece in resample(track, max_gap=max_gap)
    )
    return [piece for piece in pieces if len(piece) >= min_steps]


def read_detections(
    connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime
) -> dict[datetime, Detections]:
    """The detections of every analysed frame in the span, in time order; empty ones where nothing was seen."""
    rows = _read(
        connection,
        "detections",
        "SELECT observation.captured_at, detection.x1, detection.y1, detection.x2, detection.y2, "
        "detection.score, detection.class_id "
        "FROM observations AS observation LEFT JOIN detections AS detection USING (camera_id, captured_at) "
        "WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s ORDER BY captured_at, detection_index",
        (camera_id, since, until),
    )
    return {moment: _detections(group) for moment, group in groupby(rows, key=lambda row: row[0])}


def read_forecasts(
    connection: psycopg.Connection,
    camera_id: str,
    since: datetime,
    until: datetime,
    *,
    model: str | None = None,
    model_version: str | None = None,
) -> list[Forecast]:
    """The camera's forecasts made in the span, by time, then track; of one model or version where asked."""
    rows = _read_by_model(connection, "forecasts", _FORECAST, camera_id, since, until, model, model_version)
    return [_forecast(camera_id, *row) for row in rows]


def read_scores(
    connection: psycopg.Connection,
    camera_id: str,
    since: datetime,
    until: datetime,
    *,
    model: str | None = None,
    model_version: str | None = None,
) -> list[ForecastScore]:
    """The scores of the forecasts that `read_forecasts` gives for the same arguments, as far as they are in."""
    rows = _read_by_model(connection, "forecast_scores", _SCORE, camera_id, since, until, model, model_version)
    return [ForecastScore(camera_id, *row) for row in rows]


def read_frame_rows(
    connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime, *, limit: int | None = None
) -> list[FrameRow]:
    """The archived frames of the camera in the span, in time order; the first `limit` of them where asked."""
    rows = _read(
        connection,
        "frames",
        "SELECT camera_id, captured_at, sequence, width, height, pack_key, pack_offset, byte_length, sha256 "
        "FROM frames WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s ORDER BY captured_at LIMIT %s",
        (camera_id, since, until, limit),
    )
    return [FrameRow(*row) for row in rows]


def read_frame_spans(connection: psycopg.Connection, since: datetime, until: datetime) -> list[FrameSpan]:
    """What is archived of each camera in the span, by name."""
    rows = _read(
        connection,
        "cameras with frames",
        "SELECT camera_id, min(captured_at), max(captured_at), count(*) FROM frames "
        "WHERE captured_at >= %s AND captured_at < %s GROUP BY camera_id ORDER BY camera_id",
        (since, until),
    )
    return [FrameSpan(*row) for row in rows]


def read_counts(connection: psycopg.Connection, camera_id: str | None = None) -> dict[str, int]:
    """Rows by table of TIME_SERIES, of one camera where asked. Counts every row: not for large databases."""
    statement = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {label}, count(*) FROM {table} WHERE camera_id = coalesce(%(camera_id)s, camera_id)").format(
            label=sql.Literal(table), table=sql.Identifier(table)
        )
        for table in TIME_SERIES
    )
    return {table: count for table, count in _read(connection, "counts", statement, {"camera_id": camera_id})}


def read_sequence_gaps(
    connection: psycopg.Connection, table: Literal["frames", "observations"], camera_id: str
) -> list[tuple[int, int]]:
    """The sequence numbers that are missing between the camera's first and last row: (first, last) of each gap."""
    statement = sql.SQL(
        "SELECT before + 1, sequence - 1 FROM (SELECT sequence, lag(sequence) OVER (ORDER BY sequence) AS before "
        "FROM {table} WHERE camera_id = %s) AS ordered WHERE sequence > before + 1 ORDER BY 1"
    ).format(table=sql.Identifier(table))
    return [(first, last) for first, last in _read(connection, f"gaps in {table}", statement, (camera_id,))]


def _read(connection: psycopg.Connection, what: str, statement: Any, parameters: Any) -> list[Row]:
    with database_errors(f"read {what}"), connection.cursor(binary=True) as cursor:
        rows: list[Row] = cursor.execute(statement, parameters).fetchall()
    return rows


def _read_by_model(
    connection: psycopg.Connection,
    table: Literal["forecasts", "forecast_scores"],
    columns: Sequence[str],
    camera_id: str,
    since: datetime,
    until: datetime,
    model: str | None,
    model_version: str | None,
) -> list[Row]:
    statement = sql.SQL(
        "SELECT {columns} FROM {table} "
        "WHERE camera_id = %(camera_id)s AND made_at >= %(since)s AND made_at < %(until)s "
        "AND model = coalesce(%(model)s, model) AND model_version = coalesce(%(version)s, model_version) "
        "ORDER BY made_at, track_id, model, model_version"
    ).format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=sql.Identifier(table))
    parameters = {"camera_id": camera_id, "since": since, "until": until, "model": model, "version": model_version}
    return _read(connection, table.replace("_", " "), statement, parameters)


def _track(camera_id: str, track_id: int, units: str, rows: list[Row]) -> Track:
    class_id = Counter(row[3] for row in rows).most_common(1)[0][0]
    boxes, positions = [row[4:8] for row in rows], [row[8:10] for row in rows]
    return Track(camera_id, track_id, class_id, tuple(row[2] for row in rows), boxes, positions, units)


def _forecast(
    camera_id: str,
    track_id: int,
    class_id: int,
    made_at_step: int,
    origin: list[float],
    velocity: list[float],
    paths: list[float],
    *rest: Any,
) -> Forecast:
    modes = np.reshape(paths, (-1, FUTURE_STEPS, 2))
    return Forecast(camera_id, track_id, class_id, made_at_step, origin, velocity, modes, *rest)


def _detections(rows: Iterable[Row]) -> Detections:
    seen = [row for row in rows if row[1] is not None]
    return Detections([row[1:5] for row in seen], [row[5] for row in seen], [row[6] for row in seen])
