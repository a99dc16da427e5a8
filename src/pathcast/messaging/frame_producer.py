"""From sources to the frames topic: times, pace, several cameras at once, back-pressure."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pathcast.core.clock import Clock, SystemClock
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import Frame, check_camera_id, check_utc
from pathcast.messaging.frame_codec import encode_frame
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import RtspCamera, Source, SourceImage, without_password
from pathcast.messaging.trace import new_traceparent
from pathcast.monitoring.metrics import ServiceMetrics

_STOP_CHECK_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CameraStream:
    """What one camera sends, and how.

    `start_at` is the time of image 0 of a recording (aware UTC), also when only a later part is sent;
    None takes the moment of sending as the time of the first image sent. A live camera has none. `pace`
    is the factor to real time for recordings; None sends as fast as the broker takes it. `skip_stale`
    leaves frames out, counted, while the broker has no room; else the camera waits.
    """

    camera_id: str
    source: Source
    start_at: datetime | None = None
    pace: float | None = 1.0
    skip_stale: bool = False

    def __post_init__(self) -> None:
        check_camera_id(self.camera_id)
        if self.start_at is not None:
            check_utc("start_at", self.start_at)
            if self.source.fps is None:
                raise InvalidInputError(f"camera {self.camera_id}: a live camera is of now and has no start time")
        if self.pace is not None and self.pace <= 0:
            raise InvalidInputError(f"pace: expected a positive factor, got {self.pace}")


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What was sent of one camera; times are None where nothing was sent.

    `stopped_at` is the number of the first frame that was left when the producer was stopped; None where none was.
    """

    camera_id: str
    frames_sent: int
    frames_skipped: int
    bytes_sent: int
    first_captured_at: datetime | None
    last_captured_at: datetime | None
    seconds: float
    stopped_at: int | None = None


class FrameProducer:
    """Sends the frames of cameras, one thread each, through one producer."""

    def __init__(
        self,
        producer: RecordProducer,
        *,
        topic: str = "frames",
        clock: Clock | None = None,
        metrics: ServiceMetrics | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._clock: Clock = clock or SystemClock()
        self._metrics = metrics or ServiceMetrics("producer")
        self._stop = stop or threading.Event()

    def stream_all(
        self, cameras: Sequence[CameraStream], on_frame: Callable[[str], None] | None = None
    ) -> list[StreamReport]:
        """Send all cameras at once; return when every frame is acknowledged.

        `on_frame` is called with the camera's id after each frame, from the camera's thread. Where one
        camera fails, that is logged at once; its error is raised when the others have finished.
        """
        if len({camera.camera_id for camera in cameras}) != len(cameras):
            raise InvalidInputError("cameras: expected every camera once")
        with ThreadPoolExecutor(max_workers=max(len(cameras), 1), thread_name_prefix="camera") as pool:
            running = [pool.submit(self._stream_logged, camera, on_frame) for camera in cameras]
        self._producer.flush()
        return [task.result() for task in running]

    def stream(self, camera: CameraStream, on_frame: Callable[[str], None] | None = None) -> StreamReport:
        """Send one camera until its source ends or the producer is stopped; flush to be sure of it."""
        self._metrics.expect_camera(camera.camera_id)
        started_at = self._clock.now()
        sent = skipped = total_bytes = 0
        first_index: int | None = None
        start_at, fps = camera.start_at, camera.source.fps
        first: datetime | None = None
        last: datetime | None = None
        stopped_at: int | None = None
        images = camera.source.until(self._stop) if isinstance(camera.source, RtspCamera) else camera.source
        for image in images:
            if self._stop.is_set():
                stopped_at = image.index
                break
            if first_index is None:
                first_index = image.index
                if start_at is None and fps is not None:
                    start_at = started_at - _media_time(image.index, fps)
            if fps is not None and camera.pace is not None:
                due = started_at + _media_time(image.index - first_index, fps) / camera.pace
                self._sleep_until(due)
                if self._stop.is_set():
                    stopped_at = image.index
                    break
            self._metrics.frames_in(camera.camera_id)
            if camera.skip_stale and not self._producer.has_room():
                skipped += 1
                self._metrics.skipped(camera.camera_id)
                continue
            if start_at is None or fps is None:
                captured_at = self._clock.now()
            else:
                captured_at = start_at + _media_time(image.index, fps)
            self._send(camera.camera_id, image, captured_at)
            sent += 1
            total_bytes += len(image.jpeg)
            first, last = first or captured_at, captured_at
            if on_frame is not None:
                on_frame(camera.camera_id)
        seconds = (self._clock.now() - started_at).total_seconds()
        _log.info("camera %s: sent %d frames, skipped %d, in %.1f s", camera.camera_id, sent, skipped, seconds)
        return StreamReport(camera.camera_id, sent, skipped, total_bytes, first, last, seconds, stopped_at)

    def _stream_logged(self, camera: CameraStream, on_frame: Callable[[str], None] | None) -> StreamReport:
        try:
            return self.stream(camera, on_frame)
        except Exception as error:
            _log.error("camera %s failed: %s", camera.camera_id, without_password(str(error)))
            raise

    def _sleep_until(self, due: datetime) -> None:
        while not self._stop.is_set() and (left := (due - self._clock.now()).total_seconds()) > 0:
            self._clock.sleep(min(left, _STOP_CHECK_S))

    def _send(self, camera_id: str, image: SourceImage, captured_at: datetime) -> None:
        frame = Frame(camera_id, image.index, captured_at, image.width, image.height, image.jpeg, new_traceparent())
        with self._metrics.stage("send"):
            self._producer.send(self._topic, encode_frame(frame))
        self._metrics.frames_out(camera_id)


def _media_time(index: int, fps: float) -> timedelta:
    return timedelta(microseconds=round(index * 1_000_000 / fps))
