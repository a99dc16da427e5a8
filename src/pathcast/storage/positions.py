"""Where each consumer goes on, and the state it goes on with."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pathcast.storage.connection import database_errors


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """All records of (topic, partition) before `next_offset` have been processed by `service`."""

    service: str
    topic: str
    partition: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The consumer's `state` after all records before `next_offset`."""

    next_offset: int
    state: bytes


def read_offset(connection: psycopg.Connection, service: str, topic: str, partition: int) -> int | None:
    """The next offset to process; None before the first one was stored."""
    with database_errors(f"read the offset of {service} in {topic}/{partition}"):
        row = connection.execute(
            "SELECT next_offset FROM stream_offsets WHERE (service, topic, partition) = (%s, %s, %s)",
            (service, topic, partition),
        ).fetchone()
    return None if row is None else int(row[0])


def write_offset(connection: psycopg.Connection, position: StreamPosition) -> None:
    """Store `position` unless the stored one is further on."""
    with database_errors(f"write the offset of {position.service} in {position.topic}/{position.partition}"):
        connection.execute(
            "INSERT INTO stream_offsets (service, topic, partition, next_offset) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (service, topic, partition) DO UPDATE SET "
            "next_offset = greatest(stream_offsets.next_offset, excluded.next_offset), updated_at = now()",
            (position.service, position.topic, position.partition, position.next_offset),
        )


def move_back(connection: psycopg.Connection, position: StreamPosition) -> None:
    """Set the stored offset and checkpoint to `position`, because the topic was made anew; the state stays.

    Cameras go on, so what is remembered of them holds, whatever the offsets are. The writer may not delete either.
    """
    key = (position.next_offset, position.service, position.topic, position.partition)
    with (
        database_errors(f"move {position.service} back in {position.topic}/{position.partition}"),
        connection.transaction(),
    ):
        for table in ("stream_offsets", "checkpoints"):
            connection.execute(
                f"UPDATE {table} SET next_offset = %s, updated_at = now() "  # noqa: S608
                "WHERE (service, topic, partition) = (%s, %s, %s)",
                key,
            )


def read_checkpoint(connection: psycopg.Connection, service: str, topic: str, partition: int) -> Checkpoint | None:
    """The newest checkpoint; None before the first one was stored."""
    with database_errors(f"read the checkpoint of {service} in {topic}/{partition}"):
        row = connection.execute(
            "SELECT next_offset, state FROM checkpoints WHERE (service, topic, partition) = (%s, %s, %s)",
            (service, topic, partition),
        ).fetchone()
    return None if row is None else Checkpoint(int(row[0]), bytes(row[1]))


def write_checkpoint(connection: psycopg.Connection, position: StreamPosition, state: bytes) -> bool:
    """Replace the checkpoint; False, and nothing changed, when the stored one is further on.

    So a process that was taken for dead cannot put its old state over that of its successor.
    """
    with database_errors(f"write the checkpoint of {position.service} in {position.topic}/{position.partition}"):
        cursor = connection.execute(
            "INSERT INTO checkpoints (service, topic, partition, next_offset, state) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (service, topic, partition) DO UPDATE SET "
            "next_offset = excluded.next_offset, state = excluded.state, updated_at = now() "
            "WHERE checkpoints.next_offset <= excluded.next_offset",
            (position.service, position.topic, position.partition, position.next_offset, state),
        )
    return bool(cursor.rowcount == 1)
