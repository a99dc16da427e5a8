"""Where a service goes on when it starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import psycopg

from pathcast.messaging.consumer import PartitionConsumer
from pathcast.storage.positions import StreamPosition, read_position, start_anew

_log = logging.getLogger(__name__)


def resume_at_stored_offsets(consumer: PartitionConsumer, connection: psycopg.Connection, service: str) -> None:
    """Go on behind the rows that `service` has written."""
    stored = [read_position(connection, service, consumer.topic, partition) for partition in consumer.partitions]
    resume(consumer, connection, service, [position for position in stored if position])


def resume(
    consumer: PartitionConsumer, connection: psycopg.Connection, service: str, stored: Iterable[StreamPosition]
) -> None:
    """Seek to `stored`; where the topic was made anew, store its beginning, which never moves back by itself."""
    before = {position.partition: position for position in stored}
    here = {partition: position for partition, position in before.items() if _same_topic(position, consumer)}
    starts = consumer.seek({partition: position.next_offset for partition, position in here.items()})
    for partition, position in before.items():
        start = starts[partition]
        if partition not in here:
            _log.warning(
                "%s[%d]: the topic was made anew, starting at %d, not at %d",
                consumer.topic,
                partition,
                start,
                position.next_offset,
            )
        if partition not in here or start < position.next_offset:
            start_anew(connection, consumer.stream_position(service, partition, start))
    _log.info("%s goes on at offsets %s", service, starts)


def _same_topic(position: StreamPosition, consumer: PartitionConsumer) -> bool:
    return None in (position.topic_id, consumer.topic_id) or position.topic_id == consumer.topic_id
