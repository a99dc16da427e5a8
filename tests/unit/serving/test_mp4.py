from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pathcast.core.errors import PathcastError
from pathcast.core.video import decode
from pathcast.serving.mp4 import Mp4Writer, join_videos


def black(size: int) -> np.ndarray:
    return np.zeros((size, size, 3), np.uint8)


@pytest.mark.parametrize(("size", "frames"), [(16, 1), (1024, 50)], ids=["at the end", "meanwhile"])
def test_an_encoder_that_fails_is_told_with_its_reason(tmp_path: Path, size: int, frames: int) -> None:
    writer = Mp4Writer(tmp_path / "missing" / "clip.mp4", 10)

    def write() -> None:
        for _ in range(frames):
            writer.write(black(size))
        writer.close()

    with pytest.raises(PathcastError, match=r"video .*clip.mp4: the encoder failed: .*No such file or directory"):
        write()
    writer.close()
    writer.abandon()


def test_an_abandoned_file_is_no_video(tmp_path: Path) -> None:
    def fail() -> None:
        with Mp4Writer(tmp_path / "clip.mp4", 10) as writer:
            writer.write(black(16))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    path = tmp_path / "clip.mp4"
    assert not path.exists() or path.stat().st_size == 0


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "clip.mp4", 10):
        pass
    assert not (tmp_path / "clip.mp4").exists()


def test_an_interrupt_leaves_it_to_the_writer_to_end_the_file(tmp_path: Path) -> None:
    interrupted = f"""
import os, signal, numpy
from pathlib import Path
from pathcast.serving.mp4 import Mp4Writer
writer = Mp4Writer(Path({str(tmp_path / "clip.mp4")!r}), 10)
writer.write(numpy.zeros((16, 16, 3), numpy.uint8))
try:
    os.killpg(0, signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    writer.close()
"""
    done = subprocess.run([sys.executable, "-c", interrupted], start_new_session=True, timeout=60, check=False)
    assert done.returncode == 0
    assert (tmp_path / "clip.mp4").stat().st_size > 0


@pytest.mark.parametrize("lost", ["gone", "torn"])
def test_a_part_that_is_missing_is_told(tmp_path: Path, lost: str) -> None:
    parts = [tmp_path / f"{number}.mp4" for number in range(3)]
    for part in parts:
        with Mp4Writer(part, 10) as writer:
            writer.write(black(16))
    if lost == "gone":
        parts[1].unlink()
    else:
        parts[1].write_bytes(parts[1].read_bytes()[:100])
    with pytest.raises(PathcastError, match="video .*whole.mp4: "):
        join_videos(parts, tmp_path / "whole.mp4")


@pytest.mark.parametrize("name", ["12:00:00.mp4", "-dash.mp4", "it's 50%.mp4"])
def test_a_relative_name_is_a_file_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with Mp4Writer(Path(name), 10) as writer:
        writer.write(black(16))
    join_videos([Path(name)], Path(f"joined {name}"))
    assert len(list(decode(Path(name)))) == len(list(decode(Path(f"joined {name}")))) == 1
