"""What people are to be told, kept until every channel has taken it, or for a week."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pathcast.storage.connection import database_errors

OWED_FOR = timedelta(days=7)
"""What nobody could be told of for so long is no news."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is said: what, where, since when, and what to do next; `facts` is the same for machines, JSON-able.

    Of the facts, `event` says of what kind it is; after `recovered` nothing is to be done.
    """

    title: str
    text: str
    facts: Mapping[str, Any]

    @property
    def recovered(self) -> bool:
        return bool(self.facts["event"] == "recovered")

    def as_json(self) -> bytes:
        """What a webhook gets."""
        return json.dumps({**self.facts, "title": self.title, "text": self.text}).encode()


def owe(connection: psycopg.Connection, family: str, message: Message) -> None:
    """Keep a message about the family until it is delivered; one that is owed already changes nothing."""
    with database_errors("keep a message"):
        connection.execute(
            "INSERT INTO owed_messages (family, title, body, facts) SELECT %(family)s, %(title)s, %(body)s, %(facts)s "
            "WHERE NOT EXISTS (SELECT FROM owed_messages "
            "WHERE (family, title, body) = (%(family)s, %(title)s, %(body)s))",
            {"family": family, "title": message.title, "body": message.text, "facts": Jsonb(dict(message.facts))},
        )


def owed(connection: psycopg.Connection, family: str) -> dict[int, Message]:
    """The family's messages that are still owed, by number, the oldest first."""
    with database_errors("read the messages"):
        connection.execute("DELETE FROM owed_messages WHERE owed_at < now() - %s", (OWED_FOR,))
        rows = connection.execute(
            "SELECT id, title, body, facts FROM owed_messages WHERE family = %s ORDER BY id", (family,)
        ).fetchall()
    return {number: Message(title, text, facts) for number, title, text, facts in rows}


def delivered(connection: psycopg.Connection, number: int) -> None:
    """The message of that number has arrived."""
    with database_errors("note a message"):
        connection.execute("DELETE FROM owed_messages WHERE id = %s", (number,))
