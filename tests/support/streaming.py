"""Services as processes, and what passes through them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from support.waiting import wait_for

from pathcast.core import Detections, Frame, FrameTracks, Observation
from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.parts import base_environment
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.records import Record
from pathcast.storage.connection import connect

REPOSITORY = Path(__file__).parents[2]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FPS = 7
SEED = 20260301


@dataclass
class Service:
    """A service as its own process, with everything about time turned down."""

    name: str
    settings: PlatformSettings
    log: Path
    process: subprocess.Popen[bytes] | None = None
    metrics_port: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        env = base_environment() | settings_variables(self.settings)
        env |= {
            "PATHCAST_METRICS_PORT": str(self.metrics_port),
            "PATHCAST_ARCHIVER_PACK_SECONDS": "2",
            "PATHCAST_ARCHIVER_FLUSH_S": "1",
            **self.extra,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"streaming.{self.name}"], cwd=REPOSITORY, env=env, stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def text(self) -> str:
        return self.log.read_text()


def picture(number: int, size: tuple[int, int] = (64, 48)) -> bytes:
    image = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return bytes(cv2.imencode(".jpg", image)[1])


def frame(camera_id: str, number: int) -> Frame:
    return Frame(camera_id, number, START + timedelta(seconds=number / FPS), 64, 48, picture(number))


def observation(camera_id: str, number: int, detector: str = "detector") -> Observation:
    detections = Detections([[1, 2, 3, 4], [2, 2, 5, 5]], [0.5, 0.25], [0, 2])
    tracks = FrameTracks([4], [[1, 2, 3, 4]], [0.5], [0], [0])
    moment = START + timedelta(seconds=number / FPS)
    return Observation(
        camera_id, number, moment, 64, 48, detector, "1", detections, tracks, np.array([[0.5, 0.25]]), "m"
    )


def read_topic(settings: PlatformSettings, topic: str, count: int) -> list[Record]:
    """The first `count` records of a topic."""
    records: list[Record] = []
    with PartitionConsumer(settings.kafka_bootstrap, topic, client_id="test") as consumer:
        consumer.seek({})

        def enough() -> bool:
            records.extend(consumer.poll(0.2))
            return len(records) >= count

        wait_for(enough, f"{count} records in {topic}")
    return records


def stored(settings: PlatformSettings, table: str, camera_id: str) -> list[int]:
    """The sequence numbers of a camera's rows."""
    with connect(settings.database_url, application_name="test") as connection:
        query = f"SELECT sequence FROM {table} WHERE camera_id = %s ORDER BY sequence"  # noqa: S608
        return [row[0] for row in connection.execute(query, (camera_id,))]


def counted(settings: PlatformSettings, table: str, camera_ids: Sequence[str]) -> int:
    return sum(len(stored(settings, table, camera_id)) for camera_id in camera_ids)


def write_clip(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 2 * number, np.uint8))
    writer.release()
    return path
