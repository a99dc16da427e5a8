"""What the drift checks found, in the database: findings, alarms that are open or over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import psycopg

from pathcast.monitoring.check import Finding
from pathcast.monitoring.verdict import Judgement, Span
from pathcast.storage.connection import database_errors

KEPT = timedelta(days=400)
"""As long as the minutes that dashboards show."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A family's trouble at a camera, from the first bad window (`since` is its beginning) to the first good one.

    Good is a window by which every signal that has alarmed is known to be as usual again.
    """

    family: str
    camera_id: str
    since: datetime
    last_seen: datetime
    reason: str
    recovered_at: datetime | None


def store_findings(connection: psycopg.Connection, findings: Sequence[Finding]) -> None:
    """Keep the findings, and open and close alarms by them, all or nothing.

    A window that is checked again replaces what was found in it, and a window older than what an alarm has seen
    leaves the alarm as it is; so repeating changes nothing.
    """
    with database_errors("store the drift findings"), connection.transaction():
        for finding in findings:
            _store(connection, finding)
        by_camera = sorted(findings, key=lambda each: (each.family, each.camera_id))
        for (family, camera_id), group in groupby(by_camera, key=lambda each: (each.family, each.camera_id)):
            _move_alarm(connection, family, camera_id, list(group))
        if findings:
            newest = max(finding.window.until for finding in findings)
            # A window of the future tells nothing of how old the others are.
            connection.execute("DELETE FROM drift_findings WHERE window_end < least(%s, now()) - %s", (newest, KEPT))


def read_latest_findings(connection: psycopg.Connection) -> list[Finding]:
    """The newest finding of every family, camera and signal of the last day, in that order."""
    with database_errors("read the drift findings"):
        rows = connection.execute(
            "SELECT DISTINCT ON (family, camera_id, signal) family, camera_id, signal, window_start, window_end, "
            "model_version, verdict, reason, reference, value, distance, threshold, samples, reference_windows "
            "FROM drift_findings WHERE window_end > now() - INTERVAL '1 day' "
            "ORDER BY family, camera_id, signal, window_end DESC"
        ).fetchall()
    return [
        Finding(family, camera_id, signal, Span(since, until), version, Judgement(*judged))
        for family, camera_id, signal, since, until, version, *judged in rows
    ]


def accept(connection: psycopg.Connection, family: str, cameras: Sequence[str]) -> int:
    """Take the windows that alarmed (at `cameras`; none: all) for normal from now on; returns how many findings."""
    with database_errors("accept the drift findings"):
        accepted: int = connection.execute(
            "UPDATE drift_findings SET accepted = true WHERE family = %s AND verdict = 'alarm' AND NOT accepted "
            "AND (camera_id = ANY(%s) OR %s)",
            (family, list(cameras), not cameras),
        ).rowcount
    return accepted


def open_alarms(connection: psycopg.Connection, family: str) -> list[Alarm]:
    """The family's alarms that are not over, by camera."""
    return _alarms(connection, "family = %s AND recovered_at IS NULL", (family,))


def _alarms(connection: psycopg.Connection, condition: str, parameters: tuple[object, ...]) -> list[Alarm]:
    with database_errors("read the alarms"):
        rows = connection.execute(
            "SELECT family, camera_id, since, last_seen, reason, recovered_at FROM drift_alarms "  # noqa: S608
            f"WHERE {condition} ORDER BY family, camera_id, since",
            parameters,
        ).fetchall()
    return [Alarm(*row) for row in rows]


def owed_alarms(connection: psycopg.Connection, family: str) -> list[Alarm]:
    """Alarms whose begin or end nobody has been told of; of one that is over already, only once."""
    return _alarms(
        connection,
        "family = %s AND ((recovered_at IS NULL AND announced_at IS NULL) "
        "OR (recovered_at IS NOT NULL AND cleared_at IS NULL))",
        (family,),
    )


def message_sent(connection: psycopg.Connection, alarm: Alarm) -> None:
    """The message about `alarm` as it stands has arrived."""
    column = "announced_at" if alarm.recovered_at is None else "cleared_at"
    with database_errors("note a message"):
        connection.execute(
            f"UPDATE drift_alarms SET {column} = now() WHERE family = %s AND camera_id = %s AND since = %s",  # noqa: S608
            (alarm.family, alarm.camera_id, alarm.since),
        )


def _store(connection: psycopg.Connection, finding: Finding) -> None:
    judgement = finding.judgement
    connection.execute(
        "INSERT INTO drift_findings (family, camera_id, signal, window_start, window_end, model_version, verdict, "
        "reason, reference, value, distance, threshold, samples, reference_windows) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (family, camera_id, signal, window_end, window_start) DO UPDATE SET "
        "model_version = excluded.model_version, verdict = excluded.verdict, reason = excluded.reason, "
        "reference = excluded.reference, value = excluded.value, distance = excluded.distance, "
        "threshold = excluded.threshold, samples = excluded.samples, "
        "reference_windows = excluded.reference_windows, checked_at = now()",
        (
            finding.family,
            finding.camera_id,
            finding.signal,
            finding.window.since,
            finding.window.until,
            finding.model_version,
            judgement.verdict,
            judgement.reason,
            judgement.reference,
            judgement.value,
            judgement.distance,
            judgement.threshold,
            judgement.samples,
            judgement.windows,
        ),
    )


def _move_alarm(connection: psycopg.Connection, family: str, camera_id: str, findings: list[Finding]) -> None:
    window = findings[0].window
    bad = [finding for finding in findings if finding.alarm]
    row = connection.execute(
        "SELECT since, last_seen FROM drift_alarms WHERE family = %s AND camera_id = %s AND recovered_at IS NULL "
        "FOR UPDATE",
        (family, camera_id),
    ).fetchone()
    if bad:
        reason = "; ".join(f"{finding.signal} {finding.judgement.reason}" for finding in bad)
        if row is None:
            connection.execute(
                "INSERT INTO drift_alarms (family, camera_id, since, last_seen, reason) "
                "SELECT %s, %s, %s, %s, %s WHERE NOT EXISTS (SELECT FROM drift_alarms "
                "WHERE family = %s AND camera_id = %s AND recovered_at >= %s) "
                # A longer window may begin with an alarm that is over. Whoever knows that it began and not that it was
                # over needs no message.
                "ON CONFLICT (family, camera_id, since) DO UPDATE SET last_seen = excluded.last_seen, "
                "reason = excluded.reason, recovered_at = NULL, cleared_at = NULL, "
                "announced_at = CASE WHEN drift_alarms.cleared_at IS NULL THEN drift_alarms.announced_at END",
                (family, camera_id, window.since, window.until, reason, family, camera_id, window.until),
            )
        elif window.until > row[1]:
            connection.execute(
                "UPDATE drift_alarms SET last_seen = %s, reason = %s WHERE family = %s AND camera_id = %s "
                "AND since = %s",
                (window.until, reason, family, camera_id, row[0]),
            )
    elif row is not None and window.until > row[1] and _recovered(connection, row[0], findings):
        connection.execute(
            "UPDATE drift_alarms SET recovered_at = %s WHERE family = %s AND camera_id = %s AND since = %s",
            (window.until, family, camera_id, row[0]),
        )


def _recovered(connection: psycopg.Connection, since: datetime, findings: Sequence[Finding]) -> bool:
    """Whether something is known, and of each signal that has alarmed since then the last that is known is good.

    A signal that is no longer watched keeps no alarm open, nor does one whose alarm a person has accepted.
    """
    if all(finding.judgement.verdict == "unknown" for finding in findings):
        return False
    row = connection.execute(
        "SELECT bool_or(verdict = 'alarm' AND NOT accepted) FROM (SELECT DISTINCT ON (signal) verdict, accepted "
        "FROM drift_findings WHERE family = %s AND camera_id = %s AND signal = ANY(%s) AND verdict <> 'unknown' "
        "AND window_end > %s AND window_end <= %s ORDER BY signal, window_end DESC, verdict) AS last_known",
        (
            findings[0].family,
            findings[0].camera_id,
            [finding.signal for finding in findings],
            since,
            findings[0].window.until,
        ),
    ).fetchone()
    return row is not None and not row[0]
