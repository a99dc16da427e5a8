from __future__ import annotations

import pytest
from kafka import TopicPartition

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
