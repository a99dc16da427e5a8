"""Services and servers that are killed, stopped or away: every row once."""

from __future__ import annotations

import random
import signal
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from support.streaming import (
    SEED,
    START,
    Service,
    counted,
    frame,
    observation,
    picture,
    stored,
)
from support.waiting import wait_for

from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.local.ports import choose_ports
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.frame_codec import decode_frame, encode_frame
from pathcast.messaging.observation_codec import observation_record
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.service import ServiceSettings
from pathcast.monitoring.metrics import ServiceMetrics, read_stage_latencies
from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import connect
from pathcast.storage.housekeeping import Housekept
from pathcast.storage.reads import read_frame_rows
from streaming.archiver.__main__ import build

pytestmark = pytest.mark.integration


def test_archiver_killed_at_random_moments_leaves_every_frame_once(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    cameras, count, kills = ["kill-a", "kill-b", "kill-c"], 150, 4
    rng = random.Random(SEED)  # noqa: S311
    archiver = service("archiver")
    moments = sorted(rng.sample(range(10, count - 10), kills))
    for number in range(count):
        for camera_id in cameras:
            producer.send(settings.frames_topic, encode_frame(frame(camera_id, number)))
        if number in moments:
            producer.flush()
            before = counted(settings, "frames", cameras)
            wait_for(lambda before=before: counted(settings, "frames", cameras) > before, "more frames")
            assert archiver.end(signal.SIGKILL) == -signal.SIGKILL
            archiver.start()
    producer.flush()
    for camera_id in cameras:
        wait_for(lambda camera_id=camera_id: len(stored(settings, "frames", camera_id)) >= count, camera_id)
        assert stored(settings, "frames", camera_id) == list(range(count))
    archive = FrameArchive.connect(settings)
    with connect(settings.database_url, application_name="test") as connection:
        rows = read_frame_rows(connection, cameras[0], START, START + timedelta(hours=1))
    assert [archive.read(row).jpeg for row in rows] == [picture(number) for number in range(count)]
    assert archiver.end(signal.SIGTERM) == 0


def test_recorder_killed_at_random_moments_leaves_every_row_once(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    cameras, count, kills = ["rec-a", "rec-b"], 200, 4
    rng = random.Random(SEED)  # noqa: S311
    recorder = service("recorder")
    moments = sorted(rng.sample(range(10, count - 10), kills))
    for number in range(count):
        for camera_id in cameras:
            record = observation_record(observation(camera_id, number))
            producer.send(settings.observations_topic, record)
            if rng.random() < 0.1:
                producer.send(settings.observations_topic, record)
        if number in moments:
            producer.flush()
            before = counted(settings, "observations", cameras)
            wait_for(lambda before=before: counted(settings, "observations", cameras) > before, "more rows")
            assert recorder.end(signal.SIGKILL) == -signal.SIGKILL
            recorder.start()
    producer.flush()
    with connect(settings.database_url, application_name="test") as connection:
        for camera_id in cameras:
            wait_for(lambda camera_id=camera_id: len(stored(settings, "observations", camera_id)) >= count, camera_id)
            assert stored(settings, "observations", camera_id) == list(range(count))
            for table, per_frame in (("detections", 2), ("tracks", 1)):
                query = f"SELECT count(*) FROM {table} WHERE camera_id = %s"  # noqa: S608
                assert connection.execute(query, (camera_id,)).fetchone() == (per_frame * count,)
    assert recorder.end(signal.SIGTERM) == 0


def test_a_broker_killed_while_cameras_send_loses_nothing(
    servers: Platform, settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    archiver = service("archiver")
    rng = random.Random(SEED)  # noqa: S311
    moments = rng.sample(range(20, 280), 3)
    for number in range(300):
        producer.send(settings.frames_topic, encode_frame(frame("broker-kill", number)))
        if number in moments:
            servers.kill("kafka")
            servers.start("kafka")
    producer.flush()
    seen: list[int] = []
    with PartitionConsumer(settings.kafka_bootstrap, settings.frames_topic, client_id="test") as consumer:
        consumer.seek({})

        def complete() -> bool:
            # What was sent again after a kill is there twice.
            seen.extend(decode_frame(record).sequence for record in consumer.poll(0.2))
            return len(set(seen)) == 300

        wait_for(complete, "all frames in the topic")
    assert list(dict.fromkeys(seen)) == list(range(300))
    wait_for(lambda: stored(settings, "frames", "broker-kill") == list(range(300)), "all frames archived")
    assert archiver.end(signal.SIGTERM) == 0


def test_a_service_waits_for_a_database_that_is_away(
    servers: Platform, settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    recorder = service("recorder")
    producer.send(settings.observations_topic, observation_record(observation("away", 0)))
    producer.flush()
    wait_for(lambda: stored(settings, "observations", "away") == [0], "the first row")
    servers.kill("database")
    producer.send(settings.observations_topic, observation_record(observation("away", 1)))
    producer.flush()
    wait_for(lambda: "rebuilding" in recorder.text(), "the recorder noticing")
    servers.start("database")
    wait_for(lambda: stored(settings, "observations", "away") == [0, 1], "the second row")
    assert recorder.end(signal.SIGTERM) == 0


def test_a_graceful_stop_stores_what_is_in_hand(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    port = choose_ports(["port"], {})["port"]
    archiver = service("archiver", port)
    for number in range(40):
        producer.send(settings.frames_topic, encode_frame(frame("graceful", number)))
    producer.flush()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def page() -> str:
        try:
            with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    read = f'pathcast_frames_in_total{{camera="graceful",service="archiver"}} {40.0}'
    wait_for(lambda: read in page(), "40 frames in the metrics")
    assert read_stage_latencies(page())["decode"].count > 0
    assert archiver.end(signal.SIGTERM) == 0
    assert stored(settings, "frames", "graceful") == list(range(40))


def test_the_archiver_drops_rows_past_their_retention(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    today = datetime.now(UTC)
    for number, moment in enumerate([today - timedelta(days=45), today]):
        producer.send(settings.frames_topic, encode_frame(replace(frame("kept", number), captured_at=moment)))
    producer.flush()
    archiver = service("archiver")
    wait_for(lambda: stored(settings, "frames", "kept") == [0, 1], "both rows")
    assert archiver.end(signal.SIGTERM) == 0
    service("archiver", PATHCAST_ARCHIVER_HOUSEKEEPING_S="0.5")
    wait_for(lambda: stored(settings, "frames", "kept") == [1], "the row of today alone")


def test_an_archiver_that_is_rebuilt_over_and_over_cleans_all_the_same(
    settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_variables(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATHCAST_ARCHIVER_HOUSEKEEPING_S", "3")
    now_s = 0.0
    cleaned: list[float] = []

    def clean(*_: object) -> Housekept:
        cleaned.append(now_s)
        return Housekept((), (), postponed=False)

    monkeypatch.setattr("pathcast.messaging.archiver.housekeeping", clean)
    for module in ("pathcast.messaging.archiver", "streaming.archiver.__main__"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: now_s))
    rebuilt = build(ServiceSettings(), ServiceMetrics("archiver"))
    for _ in range(7):
        now_s += 1
        worker = rebuilt()
        worker.step()
        worker.close()
    assert cleaned == [3, 6]
