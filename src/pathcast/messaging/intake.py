"""What a service reads a topic with: the broker, the database that knows how far it got, and the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg

from pathcast.core.settings import PlatformSettings
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.dead_letters import DeadLetters
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.service import ServiceSettings
from pathcast.storage.connection import connect


@dataclass(frozen=True, slots=True)
class Intake:
    """Connections of one service, opened and closed together; see `open_intake`."""

    connection: psycopg.Connection
    consumer: PartitionConsumer
    producer: RecordProducer
    dead_letters: DeadLetters


@contextmanager
def open_intake(
    platform: PlatformSettings, topic: str, name: str, service: ServiceSettings, *, compression: str | None = None
) -> Iterator[Intake]:
    """Connect the service `name`; ServiceUnavailableError where a server is away. Where to read is still to be set."""
    security = KafkaSecurity.of(platform)
    with (
        closing(connect(platform.database_url, application_name=name)) as connection,
        PartitionConsumer(
            platform.kafka_bootstrap, topic, client_id=name, security=security, instance=service.instance
        ) as consumer,
    ):
        producer = RecordProducer(platform.kafka_bootstrap, client_id=name, security=security, compression=compression)
        try:
            yield Intake(connection, consumer, producer, DeadLetters(producer, name))
        finally:
            producer.close(timeout_s=1.0)
