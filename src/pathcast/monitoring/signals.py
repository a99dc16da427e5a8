"""The signals that families share, read from what the platform has stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pathcast.core.trajectory import STEP
from pathcast.monitoring.definition import Reader, Samples, Signal, Source
from pathcast.monitoring.distances import Shift, growth, level, mixture, turn

if TYPE_CHECKING:
    import psycopg

CANDIDATE_SCORE = 0.25
"""Detections below are mostly noise: the detector passes on what it hardly believes, for the tracker to use."""

# The span is said twice, as bounds of each stretch and as constants, because only constants keep the planner from
# looking into the chunks of other days.
_SPAN = "camera_id = %(camera_id)s AND {time} >= %(since)s AND {time} < %(until)s "
# The first row of each stretch of %(spacing)s.
_LOOKS = (
    "SELECT first.* "  # noqa: S608 - filled in below, never from outside
    "FROM generate_series(%(since)s::timestamptz, %(until)s::timestamptz, %(spacing)s::interval) AS slot "
    "CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE " + _SPAN + "AND {time} >= slot "
    "AND {time} < slot + %(spacing)s::interval {condition}ORDER BY {time} LIMIT 1) AS first"
)
# All rows of the moments of `looks`. OFFSET 0 keeps the planner from joining each look with the whole table.
_ROWS = (
    "SELECT look.{time}, {value} FROM ({looks}) AS look CROSS JOIN LATERAL "  # noqa: S608
    "(SELECT * FROM {table} WHERE " + _SPAN + "AND {time} = look.{time} {condition}OFFSET 0) AS seen"
)
_FRAMES = _LOOKS.format(
    columns="captured_at, height, track_count, brightness, sharpness",
    table="observations",
    time="captured_at",
    condition="",
)
_MODEL = "AND model = %(model)s "
_SCORED = _MODEL + "AND model_version = %(version)s AND status = 'scored' "
# Lengths change their meaning where a camera is calibrated, so only the units of now are compared.
_UNITS_OF_NOW = (
    "AND units = (SELECT units FROM forecasts WHERE camera_id = %(camera_id)s AND model = %(model)s "
    "AND made_at < %(now)s ORDER BY made_at DESC LIMIT 1) "
)


def _reader(what: str, statement: str) -> Reader:
    def read(connection: psycopg.Connection, source: Source) -> Samples:
        from pathcast.storage.connection import database_errors

        with database_errors(f"read {what}"):
            rows: list[tuple[Any, ...]] = connection.execute(statement, asdict(source)).fetchall()
        return Samples.of(rows)

    return read


def _of_frames(what: str, column: str) -> Reader:
    return _reader(
        what,
        f"SELECT captured_at, {column} FROM ({_FRAMES}) AS look WHERE {column} IS NOT NULL",  # noqa: S608
    )


def _in_frames(what: str, table: str, value: str, condition: str = "") -> Reader:
    return _reader(what, _ROWS.format(looks=_FRAMES, table=table, time="captured_at", value=value, condition=condition))


def _of_forecasts(what: str, table: str, value: str, looked_at: str, condition: str) -> Reader:
    looks = _LOOKS.format(columns="made_at", table=table, time="made_at", condition=looked_at)
    return _reader(
        what,
        _ROWS.format(looks=looks, table=table, time="made_at", value=value, condition=looked_at + condition),
    )


_BOXES = _in_frames("the heights of boxes", "tracks", "(seen.y2 - seen.y1) / look.height")
_SCORES = _in_frames("the detector's scores", "detections", "seen.score", f"AND score >= {CANDIDATE_SCORE} ")
_SPEEDS = _of_forecasts(
    "the speeds of tracks",
    "forecasts",
    f"sqrt(velocity[1]::double precision ^ 2 + velocity[2]::double precision ^ 2) / {STEP.total_seconds()}",
    _MODEL,
    _UNITS_OF_NOW,
)
_ADE = _of_forecasts("the forecasts' errors", "forecast_scores", "ade", _SCORED, _UNITS_OF_NOW)
_AGAINST_STRAIGHT_ON = _of_forecasts(
    "the forecasts' errors",
    "forecast_scores",
    "ade / greatest(constant_velocity_ade, 1e-9), greatest(constant_velocity_ade, 1e-9)",
    _SCORED,
    "",
)

_CLASSIFIED = "AND classifier = %(model)s AND classifier_version = %(version)s "
_KINDS = _in_frames("the kinds of detections", "detections", "seen.kind_id", _CLASSIFIED)
_SURENESS = _in_frames("the classifier's probabilities", "detections", "seen.kind_probability", _CLASSIFIED)

_OF_THE_DETECTOR = "AND detector = %(model)s AND detector_version = %(version)s AND appearance IS NOT NULL "
_APPEARANCES = _reader(
    "the appearance of objects",
    _LOOKS.format(
        columns="captured_at, appearance", table="observations", time="captured_at", condition=_OF_THE_DETECTOR
    ),
)

BRIGHTNESS = Signal("brightness", "0 to 255", _of_frames("brightness", "brightness"), Shift(10.0), threshold=1.0)
SHARPNESS = Signal("sharpness", "grey levels", _of_frames("sharpness", "sharpness"), Shift(1.0), threshold=1.0)
OBJECTS = Signal("objects", "a frame", _of_frames("the numbers of objects", "track_count"), Shift(1.0), threshold=2.0)
BOX_HEIGHT = Signal("box_height", "frame heights", _BOXES, Shift(0.02), threshold=1.0)
SCORE = Signal("score", "0 to 1", _SCORES, Shift(0.05), threshold=1.0)
APPEARANCE = Signal(
    "appearance",
    "vectors",
    _APPEARANCES,
    turn,
    threshold=0.05,
    anchored=False,
    absent="not watched: this version of the detector gives no appearance vectors, or nothing was tracked",
)
"""What the tracked objects look like in the mean, of detectors that give vectors; other versions' do not compare."""

SPEED = Signal("speed", "units a second", _SPEEDS, Shift(0.05), threshold=0.75)
FORECAST_ERROR = Signal("forecast_error", "units", _ADE, growth, threshold=0.25, min_samples=50, anchored=False)
"""The mean error of the serving version's forecasts above what it was, as a part of that."""

FORECAST_SKILL = Signal(
    "forecast_skill", "of straight on", _AGAINST_STRAIGHT_ON, level, threshold=1.1, min_samples=50, compared=False
)
"""The forecasts' summed error as a part of constant velocity's on the same tracks; above 1 it would do better."""

SURENESS = Signal("sureness", "0 to 1", _SURENESS, Shift(0.05), threshold=1.0, anchored=False)
"""How probable a classifier finds the class that it names."""

KINDS = Signal("kinds", "of the samples", _KINDS, mixture, threshold=0.3, anchored=False)
"""Which classes a classifier names."""
