"""Cameras to the broker: complete, in order, at their pace."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.streaming import (
    FPS,
    START,
    frame,
    read_topic,
    write_clip,
)
from support.waiting import wait_for

from pathcast.core.clock import ManualClock
from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.frame_codec import decode_frame, encode_frame
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.records import Record
from pathcast.messaging.sources import VideoFile
from pathcast.messaging.topics import Instance
from pathcast.messaging.trace import check_traceparent
from pathcast.monitoring.metrics import ServiceMetrics

pytestmark = pytest.mark.integration


def records_until_the_end(consumer: PartitionConsumer) -> list[Record]:
    found: list[Record] = []
    wait_for(lambda: found.extend(consumer.poll(1.0, max_records=500)) or consumer.caught_up(), "the end of the topic")
    return found


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
            seen += [
                (decode_frame(record).camera_id, record.partition, index) for record in records_until_the_end(consumer)
            ]
    assert len(seen) == 36
    assert len(set(seen)) == len(cameras)
    assert all(partition % 3 == index for _, partition, index in seen)
