from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import cv2
import imageio_ffmpeg
import pyarrow.parquet as pq
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


def run(clip: Path | str, out: Path, *options: str, exit_code: int = 0) -> str:
    detector = write_bright_detector(out.absolute().parent / "bright.onnx")
    arguments = [str(clip), "--out", str(out), "--detector", str(detector), "--no-video", *options]
    result = CliRunner().invoke(app, ["batch", *arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_a_video_that_ends_early_is_told(clip: Path, tmp_path: Path) -> None:
    assert "ended early" not in run(clip, tmp_path / "whole")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    told = run(clip, tmp_path / "cut")
    frames = json.loads((tmp_path / "cut" / "batch.json").read_text())["frames"]
    assert 0 < frames < FRAMES
    assert f"walk.avi: ended early, after {frames} of {FRAMES} frames that it claims" in told


def test_a_video_whose_sound_is_longer_has_not_ended_early(clip: Path, tmp_path: Path) -> None:
    longer = tmp_path / "walk.mkv"
    sound = ["-f", "lavfi", "-i", "sine=duration=6", "-c:v", "copy", "-c:a", "pcm_s16le"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", clip, *sound, longer], check=True)
    assert "ended early" not in run(longer, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert report["frames"] == FRAMES < report["frames_claimed"]


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


@pytest.mark.parametrize("restart", [(), ("--restart",)])
def test_a_source_is_not_written_over(clip: Path, tmp_path: Path, restart: tuple[str, ...]) -> None:
    out = tmp_path / "own"
    out.mkdir()
    source = clip.rename(out / "annotated.mp4")
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    before = source.read_bytes()
    for path in (source, link):
        with pytest.raises(InvalidInputError, match="would be written over it"):
            run(path, out, *restart)
    (out / "gate.mp4").symlink_to(source)
    # Of the videos in own, gate.mp4 has its results in own/gate, and that is own.
    (tmp_path / "gate").symlink_to(out)
    with pytest.raises(InvalidInputError, match="would be written over it"):
        run(out, tmp_path, *restart)
    # What a run has not finished is in a folder that it clears.
    (out / "unfinished").mkdir()
    kept = source.rename(out / "unfinished" / "mine.mp4")
    with pytest.raises(InvalidInputError, match="would be written over it"):
        run(kept, out, *restart)
    assert kept.read_bytes() == before


def test_files_of_a_folder_that_are_not_read_are_told(clip: Path, tmp_path: Path) -> None:
    night = tmp_path / "night"
    night.mkdir()
    shutil.copy(clip, night / "a.avi")
    assert "left out" not in run(night, tmp_path / "first")
    for name in ("poster.png", "b.ogv", "c.ogv", "d.ogv", "a.json", ".DS_Store"):
        (night / name).touch()
    (night / "old.mp4").mkdir()
    told = run(night, tmp_path / "second")
    assert "night: files left out: 4 (b.ogv, c.ogv, d.ogv …)" in told
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["a"]


def test_a_folder_of_the_object_store_gives_its_name(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is a folder here: the object BUCKET/KEY is the file KEY in it."""
    from pathcast.cli import batch as command
    from pathcast.serving.batch import s3

    def fetch(client: None, address: str, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for frame in range(3):
            cv2.imwrite(str(folder / f"{frame}.png"), bright_square(96, 10 + frame, 30, 30))
        return folder

    monkeypatch.setattr(command, "load_settings", lambda folder: None)
    monkeypatch.setattr("pathcast.storage.object_store.object_store", lambda settings: None)
    monkeypatch.setattr(s3, "fetch", fetch)
    monkeypatch.setattr(s3, "names_below", lambda client, address: ["0.png", "a.heic"], raising=False)
    told = run("s3://recordings/North Gate/", tmp_path / "out", "--fps", "10", "--set", "confirm_hits=1")
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["source"] == "North Gate"
    assert "s3://recordings/North Gate/: files left out: 1 (a.heic)" in told


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+02:00", "1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z"]
)
def test_times_that_nothing_can_hold_are_refused(clip: Path, tmp_path: Path, moment: str) -> None:
    told = run(clip, tmp_path / "out", "--start-at", moment, exit_code=2)
    assert "expected a time from 1970 to 2261" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", ["1e9", "1e-9", "nan"])
def test_rates_that_no_times_can_follow_are_refused(clip: Path, tmp_path: Path, rate: str) -> None:
    with pytest.raises(InvalidInputError, match=r"expected a positive frame rate, 0\.001 to 100000"):
        run(clip, tmp_path / "out", "--fps", rate)


@pytest.mark.parametrize("rate", ["1e5", "0.001"])
def test_times_at_their_ends_are_worked_with(clip: Path, tmp_path: Path, rate: str) -> None:
    run(clip, tmp_path / "out", "--fps", rate, "--start-at", "2261-12-31T23:59:59Z", "--video")
    tracks = pq.read_table(tmp_path / "out" / "tracks.parquet")
    times = tracks["captured_at"].to_pylist()
    assert times == sorted(times)
    assert len(set(times)) == len(set(tracks["frame"].to_pylist()))
    assert times[0] >= datetime(2261, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_the_trackers_settings_are_those_that_are_set(clip: Path, tmp_path: Path) -> None:
    run(clip, tmp_path / "usual")
    run(clip, tmp_path / "blind", "--set", "new_score=1", "--set", "motion.size_ratio=0.4")
    assert len(read_boxes(tmp_path / "usual" / "tracks.txt")) > len(read_boxes(tmp_path / "blind" / "tracks.txt")) == 0
    with pytest.raises(InvalidInputError, match="no setting speed"):
        run(clip, tmp_path / "wrong", "--set", "speed=9")
