from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast
from unittest.mock import Mock

import pytest

from pathcast.core.clock import ManualClock
from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import RtspCamera, SourceImage
from pathcast.monitoring.metrics import ServiceMetrics


def test_a_stop_ends_a_camera_that_never_gave_an_image() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        camera = RtspCamera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", open_timeout_s=60)
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        report = FrameProducer(cast(RecordProducer, None), stop=stop).stream(CameraStream("gate", camera))
    assert report.frames_sent == 0
    assert time.monotonic() - started < 30


class Broken:
    """A source that fails before its first image."""

    fps = None
    expected = None

    def __iter__(self) -> Iterator[SourceImage]:
        raise ServiceUnavailableError("camera rtsp://user:secret@host/live: gone")


class WaitsFor:
    """A source that ends without images once `text` is logged."""

    fps = None
    expected = None

    def __init__(self, caplog: pytest.LogCaptureFixture, text: str) -> None:
        self._caplog, self._text = caplog, text
        self.seen = False

    def __iter__(self) -> Iterator[SourceImage]:
        deadline = time.monotonic() + 60
        while not self.seen and time.monotonic() < deadline:
            self.seen = self._text in self._caplog.text
            time.sleep(0.02)
        return iter(())


def test_a_failing_camera_is_logged_while_the_others_still_run(caplog: pytest.LogCaptureFixture) -> None:
    other = WaitsFor(caplog, "camera gate failed: camera rtsp://host/live: gone")
    producer, metrics = cast(RecordProducer, Mock()), ServiceMetrics("producer")
    with pytest.raises(ServiceUnavailableError, match="gone"):
        FrameProducer(producer, metrics=metrics).stream_all(
            [CameraStream("gate", Broken()), CameraStream("yard", other)]
        )
    assert other.seen
    assert "secret" not in caplog.text
    labels = {"service": "producer", "camera": "gate"}
    assert metrics.registry.get_sample_value("pathcast_frames_out_total", labels) == 0


class Recording:
    """Ten images of a recording."""

    fps = 10.0
    expected = 10

    def __iter__(self) -> Iterator[SourceImage]:
        return (SourceImage(number, 64, 48, b"jpeg") for number in range(10))


@pytest.mark.parametrize(("pace", "stop_after", "stopped_at"), [(None, 4, 4), (None, 10, None), (1.0, 4, 4)])
def test_a_stopped_recording_says_where_to_go_on(pace: float | None, stop_after: int, stopped_at: int | None) -> None:
    stop, sent = threading.Event(), []

    def on_frame(camera_id: str) -> None:
        sent.append(camera_id)
        if len(sent) == stop_after:
            stop.set()

    producer = FrameProducer(cast(RecordProducer, Mock()), stop=stop)
    report = producer.stream(CameraStream("gate", Recording(), pace=pace), on_frame)
    assert (report.frames_sent, report.stopped_at) == (stop_after, stopped_at)


def test_a_recording_that_is_stopped_while_it_waits_for_its_pace_says_so_too() -> None:
    stop = threading.Event()

    class Stopping(ManualClock):
        def sleep(self, seconds: float) -> None:
            stop.set()

    clock = Stopping(datetime(2026, 3, 1, tzinfo=UTC))
    producer = FrameProducer(cast(RecordProducer, Mock()), stop=stop, clock=clock)
    report = producer.stream(CameraStream("gate", Recording()))
    assert (report.frames_sent, report.stopped_at) == (1, 1)
