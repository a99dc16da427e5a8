from __future__ import annotations

import zlib
from contextlib import nullcontext
from unittest.mock import Mock

import pytest
from kafka import TopicPartition, codec
from kafka.errors import CorruptRecordError, OffsetOutOfRangeError, UnsupportedCodecError

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging import consumer
from pathcast.messaging.consumer import PartitionConsumer


@pytest.mark.parametrize(
    ("ends", "caught_up"),
    [({0: 7, 1: 3}, True), ({0: 7, 1: 2}, True), ({0: 8, 1: 3}, False), ({0: 7, 1: None}, False)],
)
def test_nothing_waits_once_each_partition_is_read_to_the_end_the_broker_told(
    ends: dict[int, int | None], caught_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        _client = Mock()

        def __init__(self, **_: object) -> None: ...
        def partitions_for_topic(self, _: str) -> set[int]:
            return set(ends)

        def assign(self, _: object) -> None: ...
        def highwater(self, key: TopicPartition) -> int | None:
            return ends[key.partition]

        def position(self, key: TopicPartition) -> int:
            return {0: 7, 1: 3}[key.partition]

    monkeypatch.setattr(consumer, "KafkaConsumer", Client)
    assert PartitionConsumer("broker:1", "frames", client_id="test").caught_up() is caught_up


def damaged(compression: str, end: int | None) -> Exception:
    """What the client's decompressor raises where the first four bytes are others, or all from `end` on are missing."""
    payload = getattr(codec, f"{compression}_encode")(bytes(range(256)) * 20)
    payload = b"\0\0\0\0" + payload[4:] if end is None else payload[:end]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        getattr(codec, f"{compression}_decode")(payload)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        CorruptRecordError("CRC"),
        UnsupportedCodecError("7"),
        *(damaged(name, None) for name in ("gzip", "lz4", "snappy", "zstd")),
        *(damaged(name, 17) for name in ("gzip", "snappy")),
        zlib.error("-3"),
    ],
    ids=repr,
)
def test_a_record_that_cannot_be_read_is_passed_with_its_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Client:
        """Partition 1 has such a record at offset 3."""

        _client = Mock()

        def __init__(self, **_: object) -> None:
            self.offsets: dict[TopicPartition, int] = {}

        def partitions_for_topic(self, _: str) -> set[int]:
            return {0, 1}

        def assign(self, keys: list[TopicPartition]) -> None:
            self.offsets = dict.fromkeys(keys, 3)

        def assignment(self) -> set[TopicPartition]:
            return set(self.offsets)

        def position(self, key: TopicPartition) -> int:
            return self.offsets[key]

        def seek(self, key: TopicPartition, offset: int) -> None:
            self.offsets[key] = offset

        def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
            if self.offsets.get(TopicPartition("frames", 1)) == 3:
                raise error
            return {}

        def close(self, autocommit: bool) -> None: ...

    monkeypatch.setattr(consumer, "KafkaConsumer", Client)
    reader = PartitionConsumer("broker:1", "frames", client_id="test", check_s=60)
    (record,) = reader.poll(0)
    assert (record.partition, record.offset, record.value) == (1, 3, None)
    assert f"not in Kafka's format: {error}" in record.fault
    assert reader.poll(0) == []


@pytest.mark.parametrize(("stuck", "expected"), [(False, [4, 4, 4, 1, 0, 0, 0]), (True, [4, 4, 2])])
def test_a_partition_that_waits_behind_another_is_not_stuck(
    stuck: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {TopicPartition("frames", 0): 10, TopicPartition("frames", 1): 3}

    class Client:
        """Gives what is in one partition before it gives what is in the next."""

        _client = Mock()

        def __init__(self, **_: object) -> None:
            self.offsets = dict.fromkeys(ends, 0)

        def partitions_for_topic(self, _: str) -> set[int]:
            return {0, 1}

        def assign(self, _: object) -> None: ...

        def assignment(self) -> set[TopicPartition]:
            return set(ends)

        def position(self, key: TopicPartition) -> int:
            return self.offsets[key]

        def end_offsets(self, _: object, timeout_ms: int) -> dict[TopicPartition, int]:
            return ends

        def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
            fetched: dict[TopicPartition, list[object]] = {}
            for key, end in ends.items():
                first = self.offsets[key]
                count = 0 if stuck and key.partition == 1 else min(end - first, max_records)
                if count:
                    fetched[key] = [Mock(headers=(), timestamp=0) for _ in range(count)]
                self.offsets[key] += count
                max_records -= count
            return fetched

    monkeypatch.setattr(consumer, "KafkaConsumer", Client)
    reader = PartitionConsumer("broker:1", "frames", client_id="test", check_s=-1)
    read: list[int] = []
    told = pytest.raises(ServiceUnavailableError, match="records from 0 on are in partition 1, but do not come")
    with told if stuck else nullcontext():
        for _ in range(7):
            read.append(len(reader.poll(0, max_records=4)))
    assert read == expected


def test_records_that_are_gone_are_not_passed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        _client = Mock()

        def __init__(self, auto_offset_reset: str, **_: object) -> None:
            # Any other policy makes the client go on elsewhere without a word.
            assert auto_offset_reset == "none"

        def partitions_for_topic(self, _: str) -> set[int]:
            return {0}

        def assign(self, _: object) -> None: ...

        def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[object]]:
            raise OffsetOutOfRangeError({TopicPartition("frames", 0): 7})

    monkeypatch.setattr(consumer, "KafkaConsumer", Client)
    with pytest.raises(ServiceUnavailableError, match="reading frames failed: .*OffsetOutOfRange"):
        PartitionConsumer("broker:1", "frames", client_id="test").poll(0)
