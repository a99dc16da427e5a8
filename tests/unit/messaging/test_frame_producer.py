from __future__ import annotations

import socket
import threading
import time
from typing import cast

from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import RtspCamera


def test_a_stop_ends_a_camera_that_never_gave_an_image() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        camera = RtspCamera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", open_timeout_s=4)
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        report = FrameProducer(cast(RecordProducer, None), stop=stop).stream(CameraStream("gate", camera))
    assert report.frames_sent == 0
    assert time.monotonic() - started < 1.5
