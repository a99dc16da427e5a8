"""The database schema, brought up to date in numbered steps."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import Literal

import psycopg

from pathcast.core.errors import PathcastError
from pathcast.storage.connection import database_errors

Flavour = Literal["timescaledb", "postgresql"]

# Any constant will do, as long as nothing else in the database locks the same one.
_LOCK = 7_284_225_378
_CONDITIONAL = re.compile(r"/\*(timescaledb|postgresql):(.*?)\*/", re.DOTALL)
_NAME = re.compile(r"\d{4}_[a-z_]+\.sql")


def migrate(connection: psycopg.Connection) -> list[str]:
    """Apply the steps that the database lacks, all or none, and return their names.

    Safe to run from many services at once. The first run decides between TimescaleDB (where the server
    has the extension) and plain PostgreSQL, for good: later steps follow that choice. Raises
    PathcastError when an applied step has changed since, or the database is newer than this code.
    """
    with database_errors("migrate the database"), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, checksum text NOT NULL, "
            "flavour text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied = {
            name: (checksum, flavour)
            for name, checksum, flavour in connection.execute("SELECT name, checksum, flavour FROM schema_migrations")
        }
        steps = migration_steps()
        _check_history(applied, steps)
        kind = next((flavour for _, flavour in applied.values()), None) or _available_flavour(connection)
        pending = [name for name in steps if name not in applied]
        if pending and kind == "timescaledb":
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        for name in pending:
            connection.execute(for_flavour(steps[name], kind))
            connection.execute(
                "INSERT INTO schema_migrations (name, checksum, flavour) VALUES (%s, %s, %s)",
                (name, _checksum(steps[name]), kind),
            )
        connection.execute("SELECT ensure_partitions(ARRAY[now(), now() + INTERVAL '1 day'])")
        return pending


def migration_steps() -> dict[str, str]:
    """SQL by file name, in order."""
    folder = resources.files(__package__) / "sql"
    names = sorted(entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name))
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def for_flavour(sql: str, flavour: Flavour) -> str:
    """Uncomment the parts of `sql` that are for `flavour`; the others stay comments.

    >>> for_flavour("SELECT /*timescaledb: 1*/ /*postgresql: 2*/", "postgresql")
    'SELECT /*timescaledb: 1*/ 2'
    """

    def choose(match: re.Match[str]) -> str:
        return match[2].strip() if match[1] == flavour else match[0]

    return _CONDITIONAL.sub(choose, sql)


def read_flavour(connection: psycopg.Connection) -> Flavour:
    """What the schema was made for."""
    with database_errors("read the schema's history"):
        row = connection.execute("SELECT flavour FROM schema_migrations LIMIT 1").fetchone()
    if row is None:
        raise PathcastError("the database has no schema yet", hint="run pathcast.storage.migrate.migrate(connection)")
    flavour: Flavour = row[0]
    return flavour


def _check_history(applied: dict[str, tuple[str, Flavour]], steps: dict[str, str]) -> None:
    for name, (checksum, _) in applied.items():
        if name not in steps:
            raise PathcastError(
                f"the database has the schema step {name}, which this version of Pathcast does not know",
                hint="run the version that made it, or a newer one",
            )
        if checksum != _checksum(steps[name]):
            raise PathcastError(
                f"schema step {name} was applied with checksum {checksum[:12]}, but is now "
                f"{_checksum(steps[name])[:12]}",
                hint="undo the change to the step and put it into a new one",
            )


def _available_flavour(connection: psycopg.Connection) -> Flavour:
    found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
    return "postgresql" if found is None else "timescaledb"


def _checksum(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()
