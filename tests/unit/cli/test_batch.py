from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from support.bright import bright_square, write_bright_detector
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError
from pathcast.tracking.mot_format import read_boxes

FRAMES = 30


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A bright square that walks."""
    path = tmp_path / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for frame in range(FRAMES):
        writer.write(bright_square(96, 10 + frame, 30, 30))
    writer.release()
    return path


def run(clip: Path, out: Path, *options: str) -> str:
    detector = write_bright_detector(clip.with_suffix(".onnx"))
    arguments = [str(clip), "--out", str(out), "--detector", str(detector), "--no-video", *options]
    result = CliRunner().invoke(app, ["batch", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_video_that_ends_early_is_told(clip: Path, tmp_path: Path) -> None:
    assert "ended early" not in run(clip, tmp_path / "whole")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    told = run(clip, tmp_path / "cut")
    frames = json.loads((tmp_path / "cut" / "batch.json").read_text())["frames"]
    assert 0 < frames < FRAMES
    assert f"walk.avi: ended early, after {frames} of {FRAMES} frames that it claims" in " ".join(told.split())


def test_results_do_not_go_among_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given again, the command would take its own annotated.mp4 for the source."""
    folder = tmp_path / "night"
    folder.mkdir()
    for frame in range(3):
        cv2.imwrite(str(folder / f"{frame}.png"), bright_square(96, 10 + frame, 30, 30))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match="--out night: expected another folder"):
        run(folder, Path("night"), "--fps", "10")
    run(folder, Path("tracks"), "--fps", "10")
    assert len(list(folder.iterdir())) == 3


def test_the_trackers_settings_are_those_that_are_set(clip: Path, tmp_path: Path) -> None:
    run(clip, tmp_path / "usual")
    run(clip, tmp_path / "blind", "--set", "new_score=1", "--set", "motion.size_ratio=0.4")
    assert len(read_boxes(tmp_path / "usual" / "tracks.txt")) > len(read_boxes(tmp_path / "blind" / "tracks.txt")) == 0
    with pytest.raises(InvalidInputError, match="no setting speed"):
        run(clip, tmp_path / "wrong", "--set", "speed=9")
