"""Are the world and the models' work still what they were? Checked for a family, camera by camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.definition import Monitoring, Samples, Signal, Source
from pathcast.monitoring.verdict import Judgement, Span, cut, judge, split
from pathcast.storage.connection import database_errors

MOST_WINDOWS = 168
"""Of a reference: a week of hours. A short window would else have ten thousand of them to read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A signal of a family at a camera in a window. (family, camera_id, signal, window) is its natural key."""

    family: str
    camera_id: str
    signal: str
    window: Span
    model_version: str
    judgement: Judgement

    @property
    def alarm(self) -> bool:
        return self.judgement.verdict == "alarm"

    def __str__(self) -> str:
        return f"{self.signal} at {self.camera_id}: {self.judgement.reason}"


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A finding with the samples that it stands on, for the report."""

    finding: Finding
    signal: Signal
    reference: Samples
    current: Samples


def check_signals(
    connection: psycopg.Connection,
    family: str,
    monitoring: Monitoring,
    until: datetime,
    cameras: Sequence[str] = (),
) -> list[Compared]:
    """Every signal of the family at every camera, in the window that ends at `until`; nothing is stored.

    `cameras` (none: all that sent frames in the window) in the order given. Raises InvalidInputError for a camera
    that the platform does not know.
    """
    window = Span(until - monitoring.window, until)
    seen = cameras or _cameras_in(connection, window)
    _check_known(connection, seen)
    found = []
    for camera_id in seen:
        version = _serving_version(connection, family, camera_id, window)
        source = Source(family, version, camera_id, window.since, until, monitoring.window / monitoring.looks, until)
        for signal in monitoring.signals:
            found.append(_compare(connection, signal, monitoring, source, window))
    return found


def _compare(
    connection: psycopg.Connection, signal: Signal, monitoring: Monitoring, source: Source, window: Span
) -> Compared:
    current = signal.read(connection, source)
    for blocks in _references(connection, signal, monitoring, source, window):
        windows = split(_read(connection, signal, source, blocks), blocks, signal.min_samples)
        judgement = judge(signal, monitoring, windows, current)
        finding = Finding(source.model, source.camera_id, signal.name, window, source.version, judgement)
        compared = Compared(finding, signal, Samples.joined(windows), current)
        if judgement.windows >= monitoring.min_windows:
            break
    return compared


def _references(
    connection: psycopg.Connection, signal: Signal, monitoring: Monitoring, source: Source, window: Span
) -> list[list[Span]]:
    """The windows to compare with, best first: of the data that the version learned from, then the recent ones.

    Windows that alarmed are no reference, so that a change is not taken for normal because it lasts; those of a
    version that no longer serves are, and those that a person has accepted.
    """
    references = []
    if signal.anchored:
        spans = [span for span in _trained_on(connection, source) if span.until <= window.since]
        blocks = [block for span in spans for block in cut(span, monitoring.window)]
        if blocks:
            references.append(blocks[-MOST_WINDOWS:])
    reach = min(monitoring.reference, MOST_WINDOWS * monitoring.window)
    recent = cut(Span(window.since - reach, window.since), monitoring.window)
    alarmed = _alarmed(connection, signal.name, source)
    references.append([block for block in recent if not any(_overlap(block, span) for span in alarmed)])
    return references


def _read(connection: psycopg.Connection, signal: Signal, source: Source, blocks: Sequence[Span]) -> Samples:
    """The samples of the whole stretch of `blocks`, and of what lies between them, in one query."""
    if not blocks:
        return Samples.of([])
    return signal.read(
        connection, replace(source, since=min(b.since for b in blocks), until=max(b.until for b in blocks))
    )


def _overlap(one: Span, other: Span) -> bool:
    return one.since < other.until and other.since < one.until


def _cameras_in(connection: psycopg.Connection, window: Span) -> list[str]:
    with database_errors("read which cameras sent frames"):
        rows = connection.execute(
            "SELECT DISTINCT camera_id FROM observations WHERE captured_at >= %s AND captured_at < %s ORDER BY 1",
            (window.since, window.until),
        ).fetchall()
    return [row[0] for row in rows]


def _check_known(connection: psycopg.Connection, cameras: Sequence[str]) -> None:
    with database_errors("read the cameras"):
        unknown = [
            camera_id
            for camera_id in cameras
            if not connection.execute(
                "SELECT 1 FROM observations WHERE camera_id = %s LIMIT 1", (camera_id,)
            ).fetchone()
        ]
    if unknown:
        raise InvalidInputError(
            f"camera {', '.join(unknown)}: expected a camera with observations", hint="see `pathcast scores`"
        )


def _serving_version(connection: psycopg.Connection, model: str, camera_id: str, window: Span) -> str:
    """The version of `model` whose work was stored last in the window; empty where there is none."""
    with database_errors("read the serving version"):
        row = connection.execute(
            "SELECT version FROM ("
            "(SELECT made_at AS moment, model_version AS version FROM forecasts WHERE camera_id = %(camera_id)s "
            "AND model = %(model)s AND made_at >= %(since)s AND made_at < %(until)s ORDER BY made_at DESC LIMIT 1) "
            "UNION ALL "
            "(SELECT captured_at, detector_version FROM observations WHERE camera_id = %(camera_id)s "
            "AND detector = %(model)s AND captured_at >= %(since)s AND captured_at < %(until)s "
            "ORDER BY captured_at DESC LIMIT 1) "
            "UNION ALL "
            "(SELECT captured_at, classifier_version FROM detections WHERE camera_id = %(camera_id)s "
            "AND classifier = %(model)s AND captured_at >= %(since)s AND captured_at < %(until)s "
            "ORDER BY captured_at DESC LIMIT 1)) AS newest ORDER BY moment DESC LIMIT 1",
            {"camera_id": camera_id, "model": model, "since": window.since, "until": window.until},
        ).fetchone()
    return "" if row is None else str(row[0])


def _trained_on(connection: psycopg.Connection, source: Source) -> list[Span]:
    with database_errors("read what the version learned from"):
        rows = connection.execute(
            "SELECT since, until FROM training_tracks WHERE model = %s AND version = %s AND camera_id = %s ORDER BY 1",
            (source.model, source.version, source.camera_id),
        ).fetchall()
    return [Span(*row) for row in rows]


def _alarmed(connection: psycopg.Connection, signal: str, source: Source) -> list[Span]:
    with database_errors("read earlier findings"):
        rows = connection.execute(
            "SELECT window_start, window_end FROM drift_findings WHERE family = %s AND camera_id = %s AND signal = %s "
            "AND model_version = %s AND verdict = 'alarm' AND NOT accepted",
            (source.model, source.camera_id, signal, source.version),
        ).fetchall()
    return [Span(*row) for row in rows]
