from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import PathcastError
from streaming.producer.__main__ import camera_streams, load_producer_settings

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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CAMERAS", '["rtsp://user:secret@host/live"]'),
        ("CAMERAS", '{"gate": ["rtsp://user:secret@host/live"]}'),
        ("CAMERAS", "rtsp://user:secret@host/live"),
        ("PACE", "0"),
        ("FPS", "secret"),
    ],
)
def test_errors_name_variables_and_no_values(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv("PATHCAST_PRODUCER_CAMERAS", LIVE)
    monkeypatch.setenv(f"PATHCAST_PRODUCER_{name}", text)
    with pytest.raises(PathcastError, match=f"PATHCAST_PRODUCER_{name} missing or invalid") as failure:
        load_producer_settings()
    assert "secret" not in str(failure.value)
    assert failure.value.__context__ is None
