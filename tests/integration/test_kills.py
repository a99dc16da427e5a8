"""Whatever is killed, whenever: the tables end up row by row as if nothing had happened."""

import os
import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pathcast.core.camera import read_camera_file
from pathcast.core.errors import ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import VideoFile
from pathcast.registry.detector import import_detector
from pathcast.registry.shipped import publish_shipped
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data"))
CLIP = DATA / "pets09_s2l1" / "vtest.avi"
DETECTOR = DATA / "models" / "yolox_nano.onnx"
CAMERA_FILE = ROOT / "src" / "pathcast" / "local" / "demo" / "camera.toml"

FRAMES, FPS = 240, 7.0
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
SERVICES, SERVERS = ("analyzer", "recorder", "archiver"), ("kafka", "database")
KILLS = 12
SEED = 20260501
LIMIT_S = 300

COMPARED = {
    "frames": "captured_at, sequence, width, height, byte_length, sha256",
    "observations": "captured_at, sequence, width, height, detector, detector_version, detection_count, track_count, "
    "forecast_count, score_count",
    "detections": "captured_at, detection_index, class_id, score, x1, y1, x2, y2, model, model_version",
    "tracks": "captured_at, track_id, class_id, score, x1, y1, x2, y2, x, y, units, detection_index",
    "forecasts": "made_at, track_id, class_id, model, model_version, origin, velocity, modes, paths, log_probs, units",
    "forecast_scores": "made_at, track_id, class_id, model, model_version, status, steps, ade, fde, "
    "best_ade, best_fde, constant_velocity_ade, constant_velocity_fde",
}


@dataclass(frozen=True)
class Progress:
    archived: int
    observed: int


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    for path in (CLIP, DETECTOR):
        if not path.exists():
            pytest.skip(f"{path} is not there; PATHCAST_DATA names the folder of the evaluation data")
    platform = Platform(tmp_path_factory.mktemp("kills"))
    try:
        platform.up(servers_only=True)
        settings = platform.settings()
        import_detector(settings, DETECTOR, frames=CLIP)
        publish_shipped(settings, "forecaster")
        platform.up()
        yield platform
    finally:
        platform.down()


def rows(settings: PlatformSettings, table: str, camera_id: str) -> list[tuple]:
    with connect(settings.database_url, application_name="test") as connection:
        query = f"SELECT {COMPARED[table]} FROM {table} WHERE camera_id = %s ORDER BY {COMPARED[table]}"  # noqa: S608
        return connection.execute(query, (camera_id,)).fetchall()


def progress(settings: PlatformSettings, camera_id: str) -> Progress:
    with connect(settings.database_url, application_name="test") as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table} WHERE camera_id = %s", (camera_id,)).fetchone()[0]  # noqa: S608
            for table in ("frames", "observations")
        ]
    return Progress(*counts)


def send(settings: PlatformSettings, camera_id: str) -> None:
    with connect(settings.database_url, application_name="test") as connection:
        upsert_camera(connection, camera_id, read_camera_file(CAMERA_FILE).ground_plane.as_mapping())
    stream = CameraStream(camera_id, VideoFile(CLIP, fps=FPS, frame_count=FRAMES), start_at=START, pace=3.0)
    with RecordProducer(settings.kafka_bootstrap, client_id="test") as producer:
        FrameProducer(producer).stream_all([stream])


def wait_until_stored(settings: PlatformSettings, camera_id: str, archived: int, observed: int) -> Progress:
    """Wait until that much is stored; a database that is away meanwhile only makes it take longer."""
    deadline = time.monotonic() + LIMIT_S
    now = Progress(0, 0)
    while time.monotonic() < deadline:
        try:
            now = progress(settings, camera_id)
        except ServiceUnavailableError:
            now = Progress(0, 0)
        if now.archived >= archived and now.observed >= observed:
            return now
        time.sleep(0.05)
    raise AssertionError(f"{camera_id}: wanted {archived} archived and {observed} observed, got {now}")


def test_kills_at_random_moments_change_no_row(platform):
    settings = platform.settings()
    send(settings, "undisturbed")
    wait_until_stored(settings, "undisturbed", FRAMES, FRAMES)

    chance = random.Random(SEED)  # noqa: S311 - a repeatable schedule
    targets = [*SERVICES, *SERVERS, *chance.choices((*SERVICES, *SERVERS), k=KILLS - len(SERVICES) - len(SERVERS))]
    chance.shuffle(targets)
    # Every part dies at a frame drawn beforehand, somewhere between two checkpoints, packs and batches.
    moments = sorted(chance.sample(range(5, FRAMES - 10), KILLS))
    sending = threading.Thread(target=send, args=(settings, "disturbed"))
    sending.start()
    for target, moment in zip(targets, moments, strict=True):
        wait_until_stored(settings, "disturbed", 0, moment)
        time.sleep(chance.uniform(0.0, 0.3))  # not a wait for something: the random point within the frame's work
        platform.kill(target)
        platform.start(target)
    sending.join(LIMIT_S)
    assert not sending.is_alive()
    wait_until_stored(settings, "disturbed", FRAMES, FRAMES)

    assert {row[3] for row in rows(settings, "forecasts", "undisturbed")} == {"forecaster"}
    for table in COMPARED:
        expected, actual = rows(settings, table, "undisturbed"), rows(settings, table, "disturbed")
        assert expected, f"{table}: the undisturbed run left no rows to compare"
        assert len(actual) == len(expected), table
        differing = [(wanted, got) for wanted, got in zip(expected, actual, strict=True) if wanted != got]
        assert not differing, f"{table}: {len(differing)} rows differ, the first: {differing[0]}"
