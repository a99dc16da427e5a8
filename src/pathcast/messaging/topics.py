"""Topics: their names, their settings, and who reads which partition."""

from __future__ import annotations

from dataclasses import dataclass

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.messaging.records import MAX_VALUE_BYTES

MAX_RECORD_BYTES = MAX_VALUE_BYTES + 2**16
"""`max.message.bytes`: the largest value, and room for key, headers and the batch around them."""

_ALREADY_EXISTS = 36
_DAY_MS = 86_400_000


def dead_letter_topic(topic: str) -> str:
    """Where the records of `topic` go that cannot be processed."""
    return f"{topic}.dead-letter"


@dataclass(frozen=True, slots=True)
class Instance:
    """Which of `replicas` equal processes of a service this is; partition p belongs to instance p % replicas."""

    index: int = 0
    replicas: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.replicas:
            raise InvalidInputError(
                f"instance: expected 0 <= index < replicas, got {self.index} of {self.replicas}",
                hint="set PATHCAST_INSTANCE_INDEX and PATHCAST_INSTANCE_REPLICAS",
            )

    def partitions(self, partition_count: int) -> tuple[int, ...]:
        """The partitions of this instance, ascending; empty where there are more instances than partitions.

        >>> Instance(1, 2).partitions(4)
        (1, 3)
        """
        return tuple(range(self.index, partition_count, self.replicas))


def ensure_topics(
    bootstrap: str,
    *,
    frames_topic: str = "frames",
    observations_topic: str = "observations",
    partitions: int = 4,
    replication: int = 1,
    frames_retention_ms: int = _DAY_MS // 4,
    timeout_s: float = 30.0,
) -> list[str]:
    """Create the topics that do not exist yet, with their dead-letter topics; return the names created.

    Topics that exist are left as they are: changing the number of partitions would move cameras between
    partitions and so break their order. Raises ServiceUnavailableError where the broker does not answer.
    """
    # By the broker's clock: retention must not hang on the clocks of the cameras' machines.
    common = {"max.message.bytes": str(MAX_RECORD_BYTES), "message.timestamp.type": "LogAppendTime"}
    kept = {**common, "retention.ms": "-1"}
    wanted = [
        NewTopic(
            frames_topic, partitions, replication, topic_configs=common | {"retention.ms": str(frames_retention_ms)}
        ),
        NewTopic(
            observations_topic, partitions, replication, topic_configs=common | {"retention.ms": str(7 * _DAY_MS)}
        ),
        NewTopic(dead_letter_topic(frames_topic), 1, replication, topic_configs=kept),
        NewTopic(dead_letter_topic(observations_topic), 1, replication, topic_configs=kept),
    ]
    timeout_ms = int(timeout_s * 1_000)
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=timeout_ms)
        try:
            answers = admin.create_topics(wanted, timeout_ms=timeout_ms, raise_errors=False)["topics"]
        finally:
            admin.close()
    except KafkaError as error:
        raise ServiceUnavailableError(f"Kafka at {bootstrap}: creating topics failed: {error}") from error
    failed = [answer for answer in answers if answer["error_code"] not in (0, _ALREADY_EXISTS)]
    if failed:
        reasons = "; ".join(f"{answer['name']}: {answer['error_message']}" for answer in failed)
        raise ServiceUnavailableError(f"Kafka at {bootstrap}: topics not created: {reasons}")
    return [answer["name"] for answer in answers if answer["error_code"] == 0]
