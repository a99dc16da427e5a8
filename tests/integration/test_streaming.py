"""Frames and observations through the real broker, database and object store: nothing lost, doubled or silent."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core import Detections, Frame, FrameTracks, Observation
from pathcast.core.clock import ManualClock
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.parts import base_environment
from pathcast.local.platform import Platform
from pathcast.local.ports import choose_ports
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.frame_codec import decode_frame, encode_frame
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.observation_codec import encode_observation, observation_record
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import MAX_VALUE_BYTES, OutgoingRecord, Record
from pathcast.messaging.resume import resume_at_stored_offsets
from pathcast.messaging.sources import VideoFile
from pathcast.messaging.topics import Instance, dead_letter_topic, ensure_topics
from pathcast.messaging.trace import check_traceparent
from pathcast.monitoring.metrics import ServiceMetrics, read_stage_latencies
from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import connect
from pathcast.storage.positions import StreamPosition, read_offset, write_offset
from pathcast.storage.reads import read_frame_rows

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FPS = 7
LIMIT_S = 60
SEED = 20260301


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
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


@dataclass
class Service:
    """A service as its own process, with everything about time turned down."""

    name: str
    settings: PlatformSettings
    log: Path
    process: subprocess.Popen[bytes] | None = None
    metrics_port: int = 0

    def start(self) -> None:
        env = base_environment() | settings_variables(self.settings)
        env |= {
            "PATHCAST_METRICS_PORT": str(self.metrics_port),
            "PATHCAST_ARCHIVER_PACK_SECONDS": "2",
            "PATHCAST_ARCHIVER_FLUSH_S": "1",
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


@pytest.fixture
def service(settings: PlatformSettings, tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    started: list[Service] = []

    def start(name: str, metrics_port: int = 0) -> Service:
        process = Service(name, settings, tmp_path / f"{name}.log", metrics_port=metrics_port)
        started.append(process)
        process.start()
        return process

    yield start
    for each in started:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait(30)


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

        wait_until(enough, f"{count} records in {topic}")
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


def test_cameras_arrive_complete_in_order_and_with_their_times(
    settings: PlatformSettings, producer: RecordProducer, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.avi", 50)
    frames = FrameProducer(producer, topic=settings.frames_topic)

    def part(camera_id: str, first: int, count: int | None) -> CameraStream:
        source = VideoFile(clip, fps=FPS, first_frame=first, frame_count=count)
        return CameraStream(camera_id, source, start_at=START, pace=None)

    reports = frames.stream_all([part("one", 0, 30), part("two", 0, None), part("three", 10, 20)])
    reports += frames.stream_all([part("one", 30, None)])
    assert [(report.camera_id, report.frames_sent) for report in reports] == [
        ("one", 30),
        ("two", 50),
        ("three", 20),
        ("one", 20),
    ]
    received = [decode_frame(record) for record in read_topic(settings, settings.frames_topic, 120)]
    for camera_id, numbers in {"one": range(50), "two": range(50), "three": range(10, 30)}.items():
        own = [each for each in received if each.camera_id == camera_id]
        assert [each.sequence for each in own] == list(numbers)
        assert own[-1].captured_at == START + timedelta(microseconds=round(numbers[-1] * 1e6 / FPS))
        assert len({check_traceparent(each.traceparent) for each in own}) == len(own)


@pytest.mark.parametrize(("pace", "seconds"), [(1.0, 49 / FPS), (3.5, 49 / FPS / 3.5), (None, 0.0)])
def test_pace(
    settings: PlatformSettings, producer: RecordProducer, tmp_path: Path, pace: float | None, seconds: float
) -> None:
    source = VideoFile(write_clip(tmp_path / "clip.avi", 50), fps=FPS)
    clock = ManualClock(START)
    report = FrameProducer(producer, topic=settings.frames_topic, clock=clock).stream(
        CameraStream("paced", source, pace=pace)
    )
    assert report.seconds == pytest.approx(seconds, abs=1e-3)
    assert report.first_captured_at == START
    assert report.last_captured_at == START + timedelta(seconds=49 / FPS)


def test_a_camera_may_skip_while_the_broker_is_away_and_each_skip_is_counted(
    servers: Platform, settings: PlatformSettings, tmp_path: Path
) -> None:
    source = VideoFile(write_clip(tmp_path / "clip.avi", 50), fps=FPS)
    metrics = ServiceMetrics("producer")
    with RecordProducer(settings.kafka_bootstrap, client_id="test", max_in_flight_bytes=10_000) as sender:
        sender.deliver(settings.frames_topic, encode_frame(frame("warm-up", 0)))
        servers.kill("kafka")
        camera = CameraStream("live", source, pace=None, skip_stale=True)
        report = FrameProducer(sender, topic=settings.frames_topic, metrics=metrics).stream(camera)
        servers.start("kafka")
    assert report.frames_sent + report.frames_skipped == 50
    assert min(report.frames_sent, report.frames_skipped) > 0
    labels = {"service": "producer", "camera": "live"}
    assert metrics.registry.get_sample_value("pathcast_frames_skipped_total", labels) == report.frames_skipped
    records = read_topic(settings, settings.frames_topic, 1 + report.frames_sent)
    sent = [each.sequence for each in map(decode_frame, records) if each.camera_id == "live"]
    assert sorted(set(sent)) == list(range(report.frames_sent))


def test_each_camera_stays_on_one_partition_and_each_partition_has_one_reader(
    settings: PlatformSettings, producer: RecordProducer
) -> None:
    cameras = [f"camera-{number}" for number in range(12)]
    for number in range(3):
        for camera_id in cameras:
            producer.send(settings.frames_topic, encode_frame(frame(camera_id, number)))
    producer.flush()
    seen: list[tuple[str, int, int]] = []
    for index in range(3):
        with PartitionConsumer(
            settings.kafka_bootstrap, settings.frames_topic, client_id="test", instance=Instance(index, 3)
        ) as consumer:
            consumer.seek({})
            before = None
            while before != len(seen):
                before = len(seen)
                for record in consumer.poll(1.0, max_records=500):
                    seen.append((decode_frame(record).camera_id, record.partition, index))
    assert len(seen) == 36
    assert len(set(seen)) == len(cameras)
    assert all(partition % 3 == index for _, partition, index in seen)


def bad_frames(camera_id: str) -> list[tuple[OutgoingRecord, str]]:
    """Everything a camera can send that is no frame, and the reason it should get."""
    good = encode_frame(frame(camera_id, 3))

    def with_headers(**changes: bytes | None) -> OutgoingRecord:
        headers = [(name, changes.get(name, raw)) for name, raw in good.headers]
        return replace(good, headers=tuple((name, raw) for name, raw in headers if raw is not None))

    return [
        (replace(good, value=good.value[: len(good.value) // 2]), "no end marker"),
        (replace(good, value=b"no image"), "expected to start with ff d8"),
        (replace(good, value=b""), "empty record"),
        (replace(good, value=bytes(10_000_000)), f"at most {MAX_VALUE_BYTES} bytes, got 10000000"),
        (replace(good, headers=()), "schema_version, camera_id"),
        (with_headers(schema_version=b"99"), "schema_version: expected 1, got '99'"),
        (with_headers(captured_at=b"yesterday"), "captured_at"),
        (with_headers(sequence=None), "sequence missing"),
        (with_headers(width=b"65"), "expected the headers' 65x48"),
        (replace(good, headers=(*good.headers, ("camera_id", b"other"))), "camera_id: expected once"),
        (replace(good, key=b"other"), "key: expected the header's camera"),
    ]


def test_bad_frames_end_as_dead_letters_and_the_stream_goes_on(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    bad = bad_frames("poisoned")
    for number, (record, _) in enumerate(bad):
        producer.send(settings.frames_topic, encode_frame(frame("poisoned", number)))
        producer.send(settings.frames_topic, record)
    producer.send(settings.frames_topic, encode_frame(frame("poisoned", len(bad))))
    producer.flush()
    archiver = service("archiver")
    wait_until(lambda: len(stored(settings, "frames", "poisoned")) == len(bad) + 1, "the good frames")
    letters = read_topic(settings, dead_letter_topic(settings.frames_topic), len(bad))
    assert len(letters) == len(bad)
    sources = {(record.headers, len(record.value)): (record, reason) for record, reason in bad}
    for letter in letters:
        added = {name: raw.decode() for name, raw in letter.headers if name.startswith("dead_letter_")}
        headers = tuple((name, raw) for name, raw in letter.headers if not name.startswith("dead_letter_"))
        length = int(added.get("dead_letter_value_bytes", len(letter.value or b"")))
        record, reason = sources.pop((headers, length))
        assert reason in added["dead_letter_reason"]
        assert (added["dead_letter_service"], added["dead_letter_topic"]) == ("archiver", settings.frames_topic)
        assert int(added["dead_letter_offset"]) >= 0
        assert letter.key == record.key
        if length > MAX_VALUE_BYTES:
            assert added["dead_letter_value_sha256"] == hashlib.sha256(record.value).hexdigest()
        else:
            assert (letter.value or b"") == record.value
    assert archiver.end(signal.SIGTERM) == 0


def test_a_frame_over_the_limit_is_refused_before_it_is_sent(settings: PlatformSettings) -> None:
    with (
        RecordProducer(settings.kafka_bootstrap, client_id="test") as sender,
        pytest.raises(InvalidInputError, match="got a value of 10000000"),
    ):
        sender.send(settings.frames_topic, replace(encode_frame(frame("big", 0)), value=bytes(10_000_000)))


def test_bad_observations_end_as_dead_letters_and_the_stream_goes_on(
    settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    good = observation_record(observation("watched", 0))
    bad = [
        (replace(good, value=b"\x81\xa6schema\x63"), "expected schema 1, got 99"),
        (replace(good, value=encode_observation(observation("watched", 1))[:-9]), "observation"),
        (replace(good, value=b""), "empty record"),
        (replace(good, key=b"other"), "key: expected camera 'watched'"),
        (observation_record(observation("watched", 50, detector="\0")), "NUL"),
    ]
    for number, (record, _) in enumerate(bad):
        producer.send(settings.observations_topic, observation_record(observation("watched", number)))
        producer.send(settings.observations_topic, record)
    producer.flush()
    recorder = service("recorder")
    letters = read_topic(settings, dead_letter_topic(settings.observations_topic), len(bad))
    wait_until(lambda: stored(settings, "observations", "watched") == list(range(len(bad))), "the good observations")
    assert len(letters) == len(bad)
    reasons = {(each.key, each.value or b""): dict(each.headers)["dead_letter_reason"].decode() for each in letters}
    for record, reason in bad:
        assert reason in reasons[record.key, record.value]
    assert recorder.end(signal.SIGTERM) == 0


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
            wait_until(lambda before=before: counted(settings, "frames", cameras) > before, "more frames")
            assert archiver.end(signal.SIGKILL) == -signal.SIGKILL
            archiver.start()
    producer.flush()
    for camera_id in cameras:
        wait_until(lambda camera_id=camera_id: len(stored(settings, "frames", camera_id)) >= count, camera_id)
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
            wait_until(lambda before=before: counted(settings, "observations", cameras) > before, "more rows")
            assert recorder.end(signal.SIGKILL) == -signal.SIGKILL
            recorder.start()
    producer.flush()
    with connect(settings.database_url, application_name="test") as connection:
        for camera_id in cameras:
            wait_until(lambda camera_id=camera_id: len(stored(settings, "observations", camera_id)) >= count, camera_id)
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
    records = read_topic(settings, settings.frames_topic, 300)
    first_seen = list(dict.fromkeys(decode_frame(record).sequence for record in records))
    assert first_seen == list(range(300))
    wait_until(lambda: stored(settings, "frames", "broker-kill") == list(range(300)), "all frames archived")
    assert archiver.end(signal.SIGTERM) == 0


def test_a_service_waits_for_a_database_that_is_away(
    servers: Platform, settings: PlatformSettings, producer: RecordProducer, service: Callable[..., Service]
) -> None:
    recorder = service("recorder")
    producer.send(settings.observations_topic, observation_record(observation("away", 0)))
    producer.flush()
    wait_until(lambda: stored(settings, "observations", "away") == [0], "the first row")
    servers.kill("database")
    producer.send(settings.observations_topic, observation_record(observation("away", 1)))
    producer.flush()
    wait_until(lambda: "rebuilding" in recorder.text(), "the recorder noticing")
    servers.start("database")
    wait_until(lambda: stored(settings, "observations", "away") == [0, 1], "the second row")
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
    wait_until(lambda: read in page(), "40 frames in the metrics")
    assert read_stage_latencies(page())["decode"].count > 0
    assert archiver.end(signal.SIGTERM) == 0
    assert stored(settings, "frames", "graceful") == list(range(40))


def test_an_offset_of_a_topic_made_anew_starts_at_the_beginning(
    settings: PlatformSettings, producer: RecordProducer, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        producer.send(settings.frames_topic, encode_frame(frame("anew", number)))
    producer.flush()
    partition = read_topic(settings, settings.frames_topic, 5)[0].partition
    with PartitionConsumer(settings.kafka_bootstrap, settings.frames_topic, client_id="test") as consumer:
        assert consumer.seek({partition: 3})[partition] == 3
        wait_until(lambda: [r.offset for r in consumer.poll(0.2)][:1] == [3], "the record at the stored offset")
        assert consumer.seek({partition: 5})[partition] == 5
        assert consumer.seek({partition: 99})[partition] == 0
        assert "stored offset 99 is behind the end" in caplog.text
        with connect(settings.database_url, application_name="test") as connection:
            for offset in (5, 99):
                write_offset(connection, StreamPosition("anew", settings.frames_topic, partition, offset))
            resume_at_stored_offsets(consumer, connection, "anew")
            # The stored offset never moves back, so it must be gone for new ones to count.
            assert read_offset(connection, "anew", settings.frames_topic, partition) is None
            wait_until(lambda: [r.offset for r in consumer.poll(0.2)][:1] == [0], "the record at the beginning")


def test_a_partition_that_stops_coming_is_noticed(settings: PlatformSettings, producer: RecordProducer) -> None:
    for number in range(3):
        producer.send(settings.frames_topic, encode_frame(frame("stuck", number)))
    producer.flush()
    with PartitionConsumer(settings.kafka_bootstrap, settings.frames_topic, client_id="test", check_s=0.2) as consumer:
        consumer.seek({})
        read: list[Record] = []
        wait_until(lambda: len(read.extend(consumer.poll(0.2)) or read) == 3, "all records")
        for _ in range(5):
            assert consumer.poll(0.3) == []  # at the end nothing is amiss
        consumer.seek({})
        # A client that no longer asks for its partitions.
        consumer._consumer.pause(*consumer._consumer.assignment())
        with pytest.raises(ServiceUnavailableError, match="do not come"):
            wait_until(lambda: bool(consumer.poll(0.3)), "a record", limit_s=10)


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


def run_stream(settings: PlatformSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pathcast.cli.main import main; main()", "stream", *arguments],
        env=base_environment() | settings_variables(settings),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_stream_command(settings: PlatformSettings, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", 30)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    report = tmp_path / "report.json"
    options = ("--pace", "fast", "--fps", "7", "--start-at", "2026-03-01T12:00:00Z", "--json", str(report))
    done = run_stream(settings, str(clip), str(cut), "--camera", "whole", "--camera", "cut", *options)
    assert done.returncode == 0, done.stderr
    figures = {each["camera_id"]: each for each in json.loads(report.read_text())["cameras"]}
    assert figures["whole"]["frames_sent"] == 30
    assert 0 < figures["cut"]["frames_sent"] < 30
    records = read_topic(settings, settings.frames_topic, 30 + figures["cut"]["frames_sent"])
    frames = [decode_frame(record) for record in records]
    assert [each.sequence for each in frames if each.camera_id == "whole"] == list(range(30))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("missing.mp4", "--camera", "gate"), 1, "missing.mp4: no such file"),
        (("README.md", "--camera", "gate"), 1, "expected a video"),
        (
            ("rtsp://127.0.0.1:9/live", "--camera", "gate", "--connect-limit-s", "1"),
            1,
            "rtsp://127.0.0.1:9/live: no video",
        ),
        (("a.mp4", "b.mp4", "--camera", "gate"), 2, "--camera"),
        (("a.mp4", "--camera", "gate", "--pace", "slow"), 2, "--pace"),
        (("a.mp4", "--camera", "gate", "--start-at", "2026-03-01T12:00:00"), 2, "--start-at"),
    ],
)
def test_stream_command_says_what_is_wrong(
    settings: PlatformSettings, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run_stream(settings, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
