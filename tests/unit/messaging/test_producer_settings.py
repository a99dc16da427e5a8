from __future__ import annotations

import socket
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import PathcastError
from pathcast.messaging import sources
from streaming.producer.__main__ import camera_streams, load_producer_settings, main

LIVE = '{"gate": "rtsp://user:secret@host/live"}'


@pytest.mark.parametrize(("text", "pace"), [("fast", None), ("2.5", 2.5)])
def test_pace(monkeypatch: pytest.MonkeyPatch, text: str, pace: float | None) -> None:
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE)
    monkeypatch.setenv("PATHCAST_PRODUCER_PACE", text)
    assert [each.pace for each in camera_streams(load_producer_settings())] == [pace]


def test_the_rate_is_for_recordings_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE[:-1] + f', "yard": "{tmp_path}"}}')
    monkeypatch.setenv("PATHCAST_PRODUCER_FPS", "7")
    assert [each.source.fps for each in camera_streams(load_producer_settings())] == [None, 7.0]


class NoCamera:
    def __init__(self, *_: object) -> None:
        pass

    def isOpened(self) -> bool:  # noqa: N802
        return False

    def release(self) -> None:
        pass


class StopAfterHours(threading.Event):
    """Each wait takes an hour; after the third one it is time to stop."""

    hours = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.hours += 1
        return self.hours == 3


def test_a_camera_is_waited_for_however_long_it_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE)
    monkeypatch.setattr(cv2, "VideoCapture", NoCamera)
    (gate,) = camera_streams(load_producer_settings())
    stop = StopAfterHours()
    monkeypatch.setattr(sources.time, "monotonic", lambda: 3600.0 * stop.hours)
    assert list(gate.source.until(stop)) == []
    assert stop.hours == 3
    assert caplog.text.count("camera rtsp://host/live: no video") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CAMERAS", '["rtsp://user:secret@host/live"]'),
        ("CAMERAS", '{"gate": ["rtsp://user:secret@host/live"]}'),
        ("CAMERAS", "rtsp://user:secret@host/live"),
        ("PACE", "0"),
        ("FPS", "secret"),
        ("FPS", "0"),
        ("FPS", "nan"),
        ("FPS", "inf"),
        ("QUALITY", "0"),
        ("QUALITY", "101"),
    ],
)
def test_errors_name_variables_and_no_values(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE)
    monkeypatch.setenv(f"PATHCAST_PRODUCER_{name}", text)
    with pytest.raises(PathcastError, match=f"PATHCAST_PRODUCER_{name} missing or invalid") as failure:
        load_producer_settings()
    assert "secret" not in str(failure.value)
    assert failure.value.__context__ is None


def test_a_metrics_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    platform = ("KAFKA_BOOTSTRAP", "DATABASE_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "TRITON_GRPC")
    for name in (*platform, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(f"PATHCAST_{name}", "not-used")
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PATHCAST_METRICS_PORT", str(port))
        assert main() == 1
    printed = capsys.readouterr().err
    assert f"the metrics page cannot listen at 127.0.0.1:{port}" in printed
    assert "secret" not in printed
