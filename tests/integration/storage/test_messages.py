"""Messages that are owed, on both databases."""

from __future__ import annotations

import psycopg
import pytest

from pathcast.monitoring.outbox import Message, delivered, owe, owed

pytestmark = pytest.mark.integration


def test_messages_are_owed_in_order_once_each_until_they_are_delivered(
    connection: psycopg.Connection, camera_id: str
) -> None:
    family = f"family-{camera_id}"
    first, second = (Message(title, f"{title}'s text", {"event": "test", "of": [1, None]}) for title in ("one", "two"))
    for message in (first, second, first):
        owe(connection, family, message)
    owe(connection, f"another-{family}", second)
    found = owed(connection, family)
    assert list(found.values()) == [first, second]
    delivered(connection, min(found))
    assert list(owed(connection, family).values()) == [second]
    # What nobody could be told of for a week is no news.
    connection.execute("UPDATE owed_messages SET owed_at = now() - INTERVAL '8 days' WHERE family = %s", (family,))
    assert owed(connection, family) == {}
