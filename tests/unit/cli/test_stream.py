"""How `pathcast stream` ends."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli import stream
from pathcast.cli.main import app
from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_producer import StreamReport


@pytest.mark.parametrize(
    ("stopped_at", "said"),
    [((7, None), None), ((None, None), None), ((7, 4), "stopped: gate before frame 4")],
    ids=["a live camera", "nothing", "a recording"],
)
def test_a_recording_that_was_stopped_is_no_success(
    stopped_at: tuple[int | None, int | None], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [
        StreamReport(name, 4, 0, 400, None, None, 1.0, number)
        for name, number in zip(("live", "gate"), stopped_at, strict=True)
    ]
    nowhere = PlatformSettings.model_construct(kafka_bootstrap="", frames_topic="")
    monkeypatch.setattr(stream, "load_settings", lambda folder: nowhere)
    monkeypatch.setattr(stream, "_send", lambda *asked: reports)
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    figures = tmp_path / "stream.json"
    sources = ["rtsp://127.0.0.1/live", clip, "--camera", "live", "--camera", "gate"]
    result = CliRunner().invoke(app, ["stream", *sources, "--json", str(figures)])
    assert len(json.loads(figures.read_text())["cameras"]) == 2
    if said is None:
        assert result.exit_code == 0, result.output
    else:
        assert isinstance(result.exception, PathcastError)
        assert said in result.exception.message
