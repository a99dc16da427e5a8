"""Kafka records as the platform sees them, without the client library's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pathcast.core.errors import InvalidInputError

Headers = tuple[tuple[str, bytes], ...]

MAX_VALUE_BYTES = 8 * 2**20
"""The largest value the services accept: a 4K frame at JPEG quality 95 with room to spare."""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """What a codec makes of a value; the producer adds topic and partition."""

    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read. `timestamp_ms` is when it was written, milliseconds since the Unix epoch.

    `fault` says why the client could not read it; key, value and headers are then empty.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def single_headers(record: Record, names: Sequence[str], optional: str = "") -> Mapping[str, str]:
    """The text of each header in `names`; headers that are not named are left for other readers.

    Raises InvalidInputError where one is missing (unless it is `optional`), repeated, or not ASCII.
    """
    found: dict[str, str] = {}
    for name, raw in record.headers:
        if name not in names:
            continue
        if name in found:
            raise InvalidInputError(f"header {name}: expected once, got it repeated")
        try:
            found[name] = raw.decode("ascii")
        except (UnicodeDecodeError, AttributeError) as error:
            raise InvalidInputError(f"header {name}: expected ASCII text, got {raw!r:.80}") from error
    missing = [name for name in names if name not in found and name != optional]
    if missing:
        raise InvalidInputError(f"headers: {', '.join(missing)} missing")
    return found


def checked(record: Record) -> Record:
    """The record if the client could read it, else InvalidInputError with the fault."""
    if record.fault:
        raise InvalidInputError(record.fault)
    return record


def sized_value(value: bytes | None, max_bytes: int) -> bytes:
    """`value` if it holds 1 to `max_bytes` bytes, else InvalidInputError."""
    if not value:
        raise InvalidInputError("value: expected bytes, got an empty record")
    if len(value) > max_bytes:
        raise InvalidInputError(f"value: expected at most {max_bytes} bytes, got {len(value)}")
    return value
