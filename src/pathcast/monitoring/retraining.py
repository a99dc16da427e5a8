"""When drift may start a training: not twice for a window, not too soon after the last, not too often a day."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.settings import MonitorSettings
from pathcast.storage.connection import database_errors

Status = Literal["started", "succeeded", "failed"]

_DAY = timedelta(days=1)

LASTS_AT_MOST = timedelta(hours=36)
"""A run whose end was not noted by then was lost with its machine: a training may take a day, and gates come after."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why `family` is to be trained, and by which run of a pipeline.

    `reason` are the alarms of the window that ends at `window_end`; `run` is the run's id, `triggered_by` its
    pipeline's, `place` the machine (or pod) that asks.
    """

    family: str
    window_end: datetime
    reason: str
    run: str
    triggered_by: str
    place: str


def claim_run(connection: psycopg.Connection, trigger: Trigger, now: datetime, limits: MonitorSettings) -> str | None:
    """None where the run is to train, which is then noted as started; else why it must not.

    Of several runs that ask at once for a family one is answered with None; it may ask again. Raises
    InvalidInputError where the run has no id: all such runs would be taken for one that has claimed already.
    """
    if not trigger.run or "{{" in trigger.run:
        raise InvalidInputError(
            f"a training for {trigger.family}: expected the id of the pipeline's run, got {trigger.run!r}",
            hint="this Kubeflow Pipelines does not fill in {{$.pipeline_job_uuid}}; raise its version",
        )
    with database_errors("claim a training"), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('pathcast retraining ' || %s))", (trigger.family,))
        held = connection.execute(
            "SELECT 1 FROM retraining_runs WHERE family = %s AND run = %s", (trigger.family, trigger.run)
        ).fetchone()
        refusal = None if held else _refusal(connection, trigger.family, trigger.window_end, now, limits)
        if not held and refusal is None:
            connection.execute(
                "INSERT INTO retraining_runs "
                "(family, window_end, reason, run, triggered_by, place, status, started_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, 'started', %s)",
                (*astuple(trigger), now),
            )
        return refusal


def why_not(
    connection: psycopg.Connection, family: str, window_end: datetime, now: datetime, limits: MonitorSettings
) -> str | None:
    """Why a run that asked now for what alarms in that window would be refused; None where it would train."""
    with database_errors("read the trainings"):
        return _refusal(connection, family, window_end, now, limits)


def note_end(connection: psycopg.Connection, family: str, run: str, now: datetime, *, succeeded: bool) -> None:
    """The run has ended; nothing where it had claimed no training."""
    with database_errors("note the end of a training"):
        connection.execute(
            "UPDATE retraining_runs SET status = %s, ended_at = %s WHERE family = %s AND run = %s",
            ("succeeded" if succeeded else "failed", now, family, run),
        )


def training_of(connection: psycopg.Connection, family: str, window_end: datetime) -> Status | None:
    """How the training that the window's alarms have started stands; None where they started none."""
    with database_errors("read the trainings"):
        row = connection.execute(
            "SELECT status FROM retraining_runs WHERE family = %s AND window_end = %s", (family, window_end)
        ).fetchone()
    return None if row is None else row[0]


def _refusal(
    connection: psycopg.Connection, family: str, window_end: datetime, now: datetime, limits: MonitorSettings
) -> str | None:
    cool_down = timedelta(hours=limits.cool_down_hours)
    runs = connection.execute(
        "SELECT window_end, started_at, status, ended_at FROM retraining_runs WHERE family = %s "
        "AND (window_end = %s OR started_at > %s) ORDER BY started_at DESC",
        (family, window_end, now - max(_DAY, cool_down, LASTS_AT_MOST)),
    ).fetchall()
    for window, started_at, status, ended_at in runs:
        if window == window_end:
            return f"this window has started one already, at {started_at:%Y-%m-%d %H:%M} UTC ({status})"
        if ended_at is None and started_at > now - LASTS_AT_MOST:
            return f"one is under way since {started_at:%Y-%m-%d %H:%M} UTC"
        if started_at > now - cool_down:
            return f"the last one started at {started_at:%Y-%m-%d %H:%M} UTC, less than {cool_down} ago"
    today = sum(started_at > now - _DAY for _, started_at, _, _ in runs)
    if today >= limits.runs_a_day:
        return f"{today} have started within a day, {limits.runs_a_day} are allowed"
    return None
