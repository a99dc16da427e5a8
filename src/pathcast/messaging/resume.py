"""Where a service goes on when it starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import psycopg

from pathcast.messaging.consumer import PartitionConsumer
from pathcast.storage.positions import StreamPosition, move_back, read_offset

_log = logging.getLogger(__name__)


def resume_at_stored_offsets(consumer: PartitionConsumer, connection: psycopg.Connection, service: str) -> None:
    """Go on behind the rows that `service` has written."""
    stored = {
        partition: read_offset(connection, service, consumer.topic, partition) for partition in consumer.partitions
    }
    resume(consumer, connection, service, {partition: offset for partition, offset in stored.items() if offset})


def resume(
    consumer: PartitionConsumer, connection: psycopg.Connection, service: str, offsets: Mapping[int, int]
) -> None:
    """Seek to `offsets`; where the topic was made anew, move the stored position back, which never does by itself."""
    starts = consumer.seek(offsets)
    for partition, start in starts.items():
        if start < offsets.get(partition, start):
            move_back(connection, StreamPosition(service, consumer.topic, partition, start))
    _log.info("%s goes on at offsets %s", service, starts)
