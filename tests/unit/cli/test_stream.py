"""How `pathcast stream` ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathcast.cli.stream import require_whole
from pathcast.core.errors import PathcastError
from pathcast.messaging.frame_producer import CameraStream, StreamReport
from pathcast.messaging.sources import ImageFolder, RtspCamera


def report(camera_id: str, stopped_at: int | None) -> StreamReport:
    return StreamReport(camera_id, 4, 0, 400, None, None, 1.0, stopped_at)


def test_a_recording_that_was_stopped_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    live = CameraStream("live", RtspCamera("rtsp://127.0.0.1/live"))
    recording = CameraStream("gate", ImageFolder(tmp_path, fps=10))
    require_whole([live, recording], [report("live", 7), report("gate", None)])
    with pytest.raises(PathcastError, match="stopped: gate before frame 4\n.*--first-frame"):
        require_whole([live, recording], [report("live", 7), report("gate", 4)])
