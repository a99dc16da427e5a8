"""When drift may start a training: not twice for a window, not too soon after the last, not too often a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import psycopg

from pathcast.monitoring.settings import MonitorSettings
from pathcast.storage.connection import database_errors

Status = Literal["starting", "started", "succeeded", "failed"]

_DAY = timedelta(days=1)

STARTING_AT_MOST = timedelta(hours=12)
"""A run whose end was not noted by then was lost with its machine."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """Who asks for a training of `family`, and why: `reason` are the alarms of the window that ends at `window_end`.

    `place` is where it will run: this machine, or Kubeflow's address.
    """

    family: str
    window_end: datetime
    triggered_by: str
    reason: str
    place: str


def claim_run(connection: psycopg.Connection, trigger: Trigger, now: datetime, limits: MonitorSettings) -> str | None:
    """None where the caller is to start the training, which is then noted as starting; else why it must not.

    Of several that ask at once for a family one is answered with None.
    """
    with database_errors("claim a training"), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('pathcast retraining ' || %s))", (trigger.family,))
        refusal = _refusal(connection, trigger, now, limits)
        if refusal is None:
            connection.execute(
                "INSERT INTO retraining_runs (family, window_end, triggered_by, reason, place, status, started_at) "
                "VALUES (%s, %s, %s, %s, %s, 'starting', %s)",
                (trigger.family, trigger.window_end, trigger.triggered_by, trigger.reason, trigger.place, now),
            )
        return refusal


def note_run(
    connection: psycopg.Connection, trigger: Trigger, status: Status, now: datetime, run: str | None = None
) -> None:
    """How the claimed training goes on; `run` is its id where it has one. A run on a cluster stays `started`."""
    with database_errors("note a training"):
        connection.execute(
            "UPDATE retraining_runs SET status = %(status)s, run = coalesce(%(run)s, run), "
            "ended_at = CASE WHEN %(status)s IN ('succeeded', 'failed') THEN %(now)s::timestamptz END "
            "WHERE family = %(family)s AND window_end = %(window_end)s",
            {
                "status": status,
                "run": run,
                "now": now,
                "family": trigger.family,
                "window_end": trigger.window_end,
            },
        )


def _refusal(connection: psycopg.Connection, trigger: Trigger, now: datetime, limits: MonitorSettings) -> str | None:
    cool_down = timedelta(hours=limits.cool_down_hours)
    runs = connection.execute(
        "SELECT window_end, started_at, status FROM retraining_runs WHERE family = %s "
        "AND (window_end = %s OR started_at > %s) ORDER BY started_at DESC",
        (trigger.family, trigger.window_end, now - max(_DAY, cool_down)),
    ).fetchall()
    for window_end, started_at, status in runs:
        if window_end == trigger.window_end:
            return f"this window has started one already, at {started_at:%Y-%m-%d %H:%M} UTC ({status})"
        if status == "starting" and started_at > now - STARTING_AT_MOST:
            return f"one is under way since {started_at:%Y-%m-%d %H:%M} UTC"
        if started_at > now - cool_down:
            return f"the last one started at {started_at:%Y-%m-%d %H:%M} UTC, less than {cool_down} ago"
    today = sum(started_at > now - _DAY for _, started_at, _ in runs)
    if today >= limits.runs_a_day:
        return f"{today} have started within a day, {limits.runs_a_day} are allowed"
    return None
