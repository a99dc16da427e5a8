"""Reading from stored offsets."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient
from support.streaming import (
    frame,
    read_topic,
)
from support.waiting import wait_for

from pathcast.core.errors import ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.local.ports import choose_ports
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.frame_codec import encode_frame
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import Record
from pathcast.messaging.resume import resume_at_stored_offsets
from pathcast.messaging.topics import ensure_topics
from pathcast.storage.connection import connect
from pathcast.storage.positions import (
    Checkpoint,
    StreamPosition,
    read_checkpoint,
    read_position,
    write_checkpoint,
    write_offset,
)

pytestmark = pytest.mark.integration


def test_an_offset_of_a_topic_made_anew_starts_at_the_beginning(
    settings: PlatformSettings, producer: RecordProducer, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        producer.send(settings.frames_topic, encode_frame(frame("anew", number)))
    producer.flush()
    partition = read_topic(settings, settings.frames_topic, 5)[0].partition
    with PartitionConsumer(settings.kafka_bootstrap, settings.frames_topic, client_id="test") as consumer:
        assert consumer.seek({partition: 3})[partition] == 3
        wait_for(lambda: [r.offset for r in consumer.poll(0.2)][:1] == [3], "the record at the stored offset")
        assert consumer.seek({partition: 5})[partition] == 5
        assert consumer.seek({partition: 99})[partition] == 0
        assert "stored offset 99 is behind the end" in caplog.text
        with connect(settings.database_url, application_name="test") as connection:
            for offset in (5, 99):
                write_offset(connection, StreamPosition("anew", settings.frames_topic, partition, offset))
            write_checkpoint(connection, StreamPosition("anew", settings.frames_topic, partition, 99), b"identities")
            resume_at_stored_offsets(consumer, connection, "anew")
            # A stored offset does not move back by itself, and new ones would not count.
            start = consumer.stream_position("anew", partition, 0)
            assert read_position(connection, "anew", settings.frames_topic, partition) == start
            # A kill before the next checkpoint must not lose what is remembered of the cameras.
            kept = read_checkpoint(connection, "anew", settings.frames_topic, partition)
            assert kept == Checkpoint(start, b"identities")
            wait_for(lambda: [r.offset for r in consumer.poll(0.2)][:1] == [0], "the record at the beginning")


def test_a_topic_made_anew_is_read_whole_however_much_is_in_it(
    settings: PlatformSettings, producer: RecordProducer, caplog: pytest.LogCaptureFixture
) -> None:
    topic = settings.frames_topic

    def offsets(consumer: PartitionConsumer, count: int) -> list[int]:
        read: list[Record] = []
        wait_for(lambda: len(read.extend(consumer.poll(0.2)) or read) >= count, "all records")
        return [record.offset for record in read]

    def send(count: int) -> int:
        for number in range(count):
            producer.send(topic, encode_frame(frame("whole", number)))
        producer.flush()
        return read_topic(settings, topic, count)[0].partition

    partition = send(3)
    with (
        connect(settings.database_url, application_name="test") as connection,
        PartitionConsumer(settings.kafka_bootstrap, topic, client_id="test") as before,
    ):
        resume_at_stored_offsets(before, connection, "whole")
        assert offsets(before, 3) == [0, 1, 2]
        write_offset(connection, before.stream_position("whole", partition, 3))
        resume_at_stored_offsets(before, connection, "whole")
        admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
        admin.delete_topics([topic])
        admin.close()
        ensure_topics(settings.kafka_bootstrap, frames_topic=topic, observations_topic=settings.observations_topic)
        send(5)
        # What runs must not go on behind the old topic's offset, and what starts must not either.
        with pytest.raises(ServiceUnavailableError, match="made anew"):
            wait_for(lambda: bool(before.poll(0.2)), "a record")
        for expected in ([0, 1, 2, 3, 4], [3, 4]):
            with PartitionConsumer(settings.kafka_bootstrap, topic, client_id="test") as after:
                resume_at_stored_offsets(after, connection, "whole")
                assert offsets(after, len(expected)) == expected
                write_offset(connection, after.stream_position("whole", partition, 3))
    assert caplog.text.count("the topic was made anew, starting at 0, not at 3") == 1


@pytest.mark.parametrize("compression", ["gzip", "lz4", "snappy", "zstd"])
def test_records_are_read_however_their_producer_compresses(settings: PlatformSettings, compression: str) -> None:
    sent = [encode_frame(frame(compression, number)) for number in range(3)]
    with RecordProducer(settings.kafka_bootstrap, client_id="test", compression=compression) as sender:
        for record in sent:
            sender.send(settings.frames_topic, record)
    read = read_topic(settings, settings.frames_topic, 3)
    assert [record.value for record in read if record.key == compression.encode()] == [each.value for each in sent]


def test_a_partition_that_stops_coming_is_noticed(settings: PlatformSettings, producer: RecordProducer) -> None:
    for number in range(3):
        producer.send(settings.frames_topic, encode_frame(frame("stuck", number)))
    producer.flush()
    with PartitionConsumer(settings.kafka_bootstrap, settings.frames_topic, client_id="test", check_s=0.2) as consumer:
        consumer.seek({})
        read: list[Record] = []
        wait_for(lambda: len(read.extend(consumer.poll(0.2)) or read) == 3, "all records")
        for _ in range(5):
            assert consumer.poll(0.3) == []  # at the end nothing is amiss
        consumer.seek({})
        # A client that no longer asks for its partitions.
        consumer._consumer.pause(*consumer._consumer.assignment())
        with pytest.raises(ServiceUnavailableError, match="do not come"):
            wait_for(lambda: bool(consumer.poll(0.3)), "a record", limit_s=10)


def test_a_topic_that_does_not_exist_is_waited_for(settings: PlatformSettings) -> None:
    with pytest.raises(ServiceUnavailableError, match="topic nowhere does not exist"):
        PartitionConsumer(settings.kafka_bootstrap, "nowhere", client_id="test")


def test_a_broker_that_is_not_there_is_a_clear_error() -> None:
    address = f"127.0.0.1:{choose_ports(['port'], {})['port']}"
    for connecting in (
        lambda: RecordProducer(address, client_id="test", connect_timeout_s=1),
        lambda: PartitionConsumer(address, "frames", client_id="test", connect_timeout_s=1),
        lambda: ensure_topics(address, timeout_s=1),
    ):
        with pytest.raises(ServiceUnavailableError, match=f"Kafka at {address}"):
            connecting()
