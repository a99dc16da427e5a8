"""Where each consumer goes on, and the state it goes on with."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import psycopg

from pathcast.storage.connection import database_errors


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """All records of (topic, partition) before `next_offset` have been processed by `service`.

    `topic_id` tells the topic from one made anew under its name; None where the broker gives topics no ids.
    """

    service: str
    topic: str
    partition: int
    next_offset: int
    topic_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The consumer's `state` at `position`."""

    position: StreamPosition
    state: bytes


def read_position(connection: psycopg.Connection, service: str, topic: str, partition: int) -> StreamPosition | None:
    """Where to go on; None before the first position was stored."""
    with database_errors(f"read the offset of {service} in {topic}/{partition}"):
        row = connection.execute(
            "SELECT next_offset, topic_id FROM stream_offsets WHERE (service, topic, partition) = (%s, %s, %s)",
            (service, topic, partition),
        ).fetchone()
    return None if row is None else StreamPosition(service, topic, partition, *row)


def write_offset(connection: psycopg.Connection, position: StreamPosition) -> None:
    """Store `position` unless the stored one is further on, or in another topic of that name."""
    with database_errors(f"write the offset of {position.service} in {position.topic}/{position.partition}"):
        connection.execute(
            "INSERT INTO stream_offsets (service, topic, partition, next_offset, topic_id) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (service, topic, partition) DO UPDATE SET "
            "next_offset = greatest(stream_offsets.next_offset, excluded.next_offset), "
            "topic_id = coalesce(excluded.topic_id, stream_offsets.topic_id), updated_at = now() "
            "WHERE coalesce(stream_offsets.topic_id = excluded.topic_id, true)",
            (position.service, position.topic, position.partition, position.next_offset, position.topic_id),
        )


def start_anew(connection: psycopg.Connection, position: StreamPosition) -> None:
    """Set the stored offset and checkpoint to `position`, because the topic was made anew; the state stays.

    Cameras go on, so what is remembered of them holds, whatever the offsets are. The writer may not delete either.
    """
    values = (position.next_offset, position.topic_id, position.service, position.topic, position.partition)
    with (
        database_errors(f"start {position.service} anew in {position.topic}/{position.partition}"),
        connection.transaction(),
    ):
        for table in ("stream_offsets", "checkpoints"):
            connection.execute(
                f"UPDATE {table} SET next_offset = %s, topic_id = %s, updated_at = now() "  # noqa: S608
                "WHERE (service, topic, partition) = (%s, %s, %s)",
                values,
            )


def read_checkpoint(connection: psycopg.Connection, service: str, topic: str, partition: int) -> Checkpoint | None:
    """The newest checkpoint; None before the first one was stored."""
    with database_errors(f"read the checkpoint of {service} in {topic}/{partition}"):
        row = connection.execute(
            "SELECT next_offset, topic_id, state FROM checkpoints WHERE (service, topic, partition) = (%s, %s, %s)",
            (service, topic, partition),
        ).fetchone()
    if row is None:
        return None
    *where, state = row
    return Checkpoint(StreamPosition(service, topic, partition, *where), bytes(state))


def write_checkpoint(connection: psycopg.Connection, position: StreamPosition, state: bytes) -> bool:
    """Replace the checkpoint; False, and nothing changed, when the stored one is further on, or in another topic.

    So a process that was taken for dead cannot put its old state over that of its successor.
    """
    with database_errors(f"write the checkpoint of {position.service} in {position.topic}/{position.partition}"):
        cursor = connection.execute(
            "INSERT INTO checkpoints (service, topic, partition, next_offset, topic_id, state) "
            "VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (service, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, "
            "topic_id = coalesce(excluded.topic_id, checkpoints.topic_id), state = excluded.state, updated_at = now() "
            "WHERE checkpoints.next_offset <= excluded.next_offset "
            "AND coalesce(checkpoints.topic_id = excluded.topic_id, true)",
            (position.service, position.topic, position.partition, position.next_offset, position.topic_id, state),
        )
    return bool(cursor.rowcount == 1)
