"""`pathcast stream` as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.streaming import (
    REPOSITORY,
    read_topic,
    write_clip,
)

from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.parts import base_environment
from pathcast.messaging.frame_codec import decode_frame

pytestmark = pytest.mark.integration


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
