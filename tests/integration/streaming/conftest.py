"""Servers and services that these tests share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.streaming import (
    Service,
)

from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.topics import ensure_topics


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Object store, database and a broker that survives a kill; no services."""
    platform = Platform(tmp_path_factory.mktemp("platform"))
    try:
        for name in ("object_store", "database", "kafka"):
            platform.start(name)
        yield platform
    finally:
        platform.down()


@pytest.fixture
def settings(servers: Platform) -> PlatformSettings:
    """The servers with topics that no other test uses."""
    name = uuid.uuid4().hex[:8]
    own = servers.settings().model_copy(
        update={"frames_topic": f"frames-{name}", "observations_topic": f"observations-{name}"}
    )
    ensure_topics(own.kafka_bootstrap, frames_topic=own.frames_topic, observations_topic=own.observations_topic)
    return own


@pytest.fixture
def producer(settings: PlatformSettings) -> Iterator[RecordProducer]:
    with RecordProducer(settings.kafka_bootstrap, client_id="test", max_record_bytes=16 * 2**20) as sender:
        yield sender


@pytest.fixture
def service(settings: PlatformSettings, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    started: list[Service] = []

    def start(name: str, metrics_port: int = 0, **extra: str) -> Service:
        process = Service(name, settings, tmp_path / f"{name}.log", metrics_port=metrics_port, extra=extra)
        started.append(process)
        process.start()
        return process

    yield start
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait(30)
