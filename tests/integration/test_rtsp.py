"""Live frames from a real RTSP server, also through the loss of it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from support.waiting import wait_for

from pathcast.core.errors import ServiceUnavailableError
from pathcast.local.platform import Platform
from pathcast.local.ports import choose_ports
from pathcast.messaging.consumer import PartitionConsumer
from pathcast.messaging.frame_codec import decode_frame
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import RtspCamera

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("aio_rtsp_toolkit") is None,
        reason="no RTSP server here: pip install aio-rtsp-toolkit",
    ),
]

SIZE = (160, 128)
FPS = 20
SERVE = """
import asyncio, sys
from aio_rtsp_toolkit.server import RtspServer

async def serve():
    server = await RtspServer(sys.argv[1], host="127.0.0.1", port=int(sys.argv[2])).start()
    await asyncio.Event().wait()

asyncio.run(serve())
"""


class RtspServerProcess:
    """Serves the files of a folder, each over and over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = choose_ports(["rtsp"], {})["rtsp"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(self.folder), str(self.port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while not listens(self.port):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the RTSP server did not start within 20 s"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/clip.mp4"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServerProcess]:
    """An H.264 clip whose frames grow brighter from black to white in two seconds."""
    writer = imageio_ffmpeg.write_frames(
        str(tmp_path / "clip.mp4"), SIZE, fps=FPS, codec="libx264", output_params=["-g", "5", "-bf", "0"]
    )
    writer.send(None)
    for number in range(2 * FPS):
        writer.send(np.full((SIZE[1], SIZE[0], 3), 6 * number, np.uint8))
    writer.close()
    process = RtspServerProcess(tmp_path)
    process.start()
    yield process
    process.kill()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def brightness(jpeg: bytes) -> float:
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean())


def test_frames_of_a_camera_reach_the_broker(server: RtspServerProcess, tmp_path: Path) -> None:
    platform = Platform(tmp_path / "platform", durable=False)
    try:
        platform.start("kafka")
        bootstrap = platform.settings().kafka_bootstrap
        before = datetime.now(tz=UTC)
        with RecordProducer(bootstrap, client_id="test") as producer:
            camera = CameraStream("live", RtspCamera(server.url, frame_count=30))
            report = FrameProducer(producer).stream_all([camera])[0]
        after = datetime.now(tz=UTC)
        frames = []
        with PartitionConsumer(bootstrap, "frames", client_id="test") as consumer:
            consumer.seek({})
            wait_for(lambda: len(frames.extend(map(decode_frame, consumer.poll(0.2))) or frames) >= 30, "30 frames")
    finally:
        platform.down()
    assert report.frames_sent == 30
    assert [frame.sequence for frame in frames] == list(range(30))
    assert {(frame.width, frame.height) for frame in frames} == {SIZE}
    moments = [frame.captured_at for frame in frames]
    assert before <= moments[0]
    assert moments[-1] <= after
    assert moments == sorted(set(moments))
    assert len({round(brightness(frame.jpeg)) for frame in frames}) > 10


def test_a_camera_that_comes_back_is_read_on(server: RtspServerProcess) -> None:
    camera = iter(RtspCamera(server.url, frame_count=20, read_timeout_s=2, connect_limit_s=20))
    numbers = [next(camera).index for _ in range(5)]
    server.kill()
    server.start()
    numbers += [image.index for image in camera]
    assert numbers == list(range(20))


def test_a_camera_that_stays_away_is_an_error(server: RtspServerProcess) -> None:
    camera = iter(RtspCamera(server.url, read_timeout_s=1, connect_limit_s=2))
    next(camera)
    server.kill()
    with pytest.raises(ServiceUnavailableError, match="no video"):
        for _ in camera:
            pass


def test_a_path_that_the_server_does_not_know(server: RtspServerProcess) -> None:
    camera = RtspCamera(server.url.replace("clip", "other"), open_timeout_s=2, connect_limit_s=0.5)
    with pytest.raises(ServiceUnavailableError, match="check the address, the path"):
        next(iter(camera))
