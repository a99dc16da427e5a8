"""What keeps the storage from growing for ever, to be called now and then by one long-running service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import database_errors


@dataclass(frozen=True, slots=True)
class HousekeepingSettings:
    """How long an object may wait for its rows (`orphan_age`), and how many of the last days may hold orphans.

    Packs of days before `look_back` were looked at while they were new, and are not listed again until
    retention has dropped their rows.
    """

    orphan_age: timedelta = timedelta(hours=1)
    look_back: timedelta = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Housekept:
    """The partitions that were dropped and the packs that were deleted; `postponed` where a table was in use."""

    dropped: tuple[str, ...]
    swept: tuple[str, ...]
    postponed: bool


def housekeeping(
    connection: psycopg.Connection, archive: FrameArchive, now: datetime, settings: HousekeepingSettings
) -> Housekept:
    """Drop raw rows past their retention, then delete the packs that no row names; about once an hour.

    On TimescaleDB retention policies drop the rows. `connection` must be in autocommit mode; the writer role
    may do this. Safe to run from several processes at once, and to repeat. Raises ServiceUnavailableError where
    the database or the object store is away.
    """
    dropped, postponed = drop_expired(connection, now)
    swept = archive.sweep_orphans(connection, older_than=now - settings.orphan_age, new_since=now - settings.look_back)
    return Housekept(tuple(dropped), tuple(swept), postponed)


def drop_expired(connection: psycopg.Connection, now: datetime) -> tuple[list[str], bool]:
    """The names of the dropped partitions, and whether some had to stay because their table was in use."""
    dropped: list[str] = []
    with database_errors("drop expired rows"):
        while True:
            try:
                row = connection.execute("SELECT drop_expired_raw(%s)", (now,)).fetchone()
            except psycopg.errors.LockNotAvailable:
                return dropped, True
            if row is None or row[0] is None:
                return dropped, False
            dropped.append(row[0])
