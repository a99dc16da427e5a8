from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.messaging import sources
from pathcast.messaging.jpeg import jpeg_size
from pathcast.messaging.sources import ImageFolder, RtspCamera, VideoFile, open_source, without_password

FRAMES = 30


def picture(number: int) -> np.ndarray:
    """A frame that says its number in its brightness."""
    return np.full((48, 64, 3), 8 * number, np.uint8)


def number_in(jpeg: bytes) -> int:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return round(float(image.mean()) / 8)


def write_video(path: Path, fourcc: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 10, (64, 48))
    assert writer.isOpened()
    for number in range(FRAMES):
        writer.write(picture(number))
    writer.release()
    return path


@pytest.fixture(scope="module", params=[("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, fourcc = request.param
    return write_video(tmp_path_factory.mktemp("video") / name, fourcc)


def test_all_frames_in_order(clip: Path) -> None:
    source = VideoFile(clip)
    images = list(source)
    assert (source.fps, source.expected) == (10.0, FRAMES)
    assert [image.index for image in images] == list(range(FRAMES))
    assert [number_in(image.jpeg) for image in images] == list(range(FRAMES))
    assert all(jpeg_size(image.jpeg) == (image.width, image.height) == (64, 48) for image in images)


@pytest.mark.parametrize(
    ("first", "count", "expected"),
    [(0, 1, [0]), (18, None, list(range(18, 30))), (18, 5, list(range(18, 23))), (29, 9, [29])],
)
def test_slices_keep_the_numbers_of_the_whole(clip: Path, first: int, count: int | None, expected: list[int]) -> None:
    source = VideoFile(clip, first_frame=first, frame_count=count)
    images = list(source)
    assert [image.index for image in images] == [number_in(image.jpeg) for image in images] == expected
    assert source.expected == len(expected)


@pytest.mark.parametrize("first", [FRAMES, FRAMES + 5])
def test_nothing_left_to_start_at(clip: Path, tmp_path: Path, first: int) -> None:
    past = rf": expected a first frame of at most {FRAMES - 1}, its last, got {first}"
    with pytest.raises(InvalidInputError, match=f"video .*clip.*{past}"):
        list(VideoFile(clip, first_frame=first))
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(number))
    with pytest.raises(InvalidInputError, match=f"image folder .*{past}"):
        ImageFolder(tmp_path, fps=5, first_frame=first)


def test_iterating_again_starts_anew(clip: Path) -> None:
    source = VideoFile(clip, frame_count=3)
    assert list(source) == list(source)


def test_true_rate_overrides_the_claimed_one(clip: Path) -> None:
    assert VideoFile(clip, fps=7).fps == 7


def test_a_cut_off_avi_gives_its_frames_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_video(tmp_path / "whole.avi", "MJPG")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with caplog.at_level(logging.INFO):
        images = list(VideoFile(cut))
    assert 0 < len(images) < FRAMES
    assert [number_in(image.jpeg) for image in images] == list(range(len(images)))
    assert f"ended after {len(images)} of the {FRAMES} frames" in caplog.text


def test_a_video_whose_sound_is_longer_has_not_ended_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1", "-f", "lavfi", "-i", "sine=duration=2"]
    subprocess.run([*program, *inputs, "-c:a", "pcm_s16le", tmp_path / "sound.mkv"], check=True)
    with caplog.at_level(logging.WARNING):
        images = list(VideoFile(tmp_path / "sound.mkv"))
    assert len(images) == 10
    assert not caplog.records


def test_a_cut_off_mp4_is_a_clear_error(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(write_video(tmp_path / "whole.mp4", "mp4v").read_bytes()[:-600])
    with pytest.raises(InvalidInputError, match=r"cut.mp4: expected a video.*(\n.*)*index is lost"):
        VideoFile(cut)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_not_a_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.avi").write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"odd.avi: expected a video, got {len(content)} bytes"):
        VideoFile(tmp_path / "odd.avi")


def test_missing_file() -> None:
    with pytest.raises(InvalidInputError, match="nowhere.mp4: no such file"):
        open_source("nowhere.mp4")


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_rate_must_be_positive(clip: Path, fps: float) -> None:
    with pytest.raises(InvalidInputError, match="positive frame rate"):
        VideoFile(clip, fps=fps)


@pytest.mark.parametrize(("first", "count"), [(-1, None), (0, 0), (0, -3)])
def test_slice_must_make_sense(clip: Path, first: int, count: int | None) -> None:
    with pytest.raises(InvalidInputError, match="frames: expected"):
        VideoFile(clip, first_frame=first, frame_count=count)


def test_folder_is_sorted_and_jpegs_pass_through(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        cv2.imwrite(str(tmp_path / f"{number:03}.jpg"), picture(number), [cv2.IMWRITE_JPEG_QUALITY, 30])
    cv2.imwrite(str(tmp_path / "003.png"), picture(3))
    (tmp_path / "notes.txt").write_text("not an image")
    source = open_source(str(tmp_path), fps=5)
    images = list(source)
    assert (source.fps, source.expected) == (5, 4)
    assert [number_in(image.jpeg) for image in images] == [0, 1, 2, 3]
    assert images[1].jpeg == (tmp_path / "001.jpg").read_bytes()
    assert [image.index for image in open_source(str(tmp_path), fps=5, first_frame=1, frame_count=2)] == [1, 2]


def test_numbers_in_names_count_by_value(tmp_path: Path) -> None:
    for number in (10, 1, 2):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), picture(number))
    assert [number_in(image.jpeg) for image in ImageFolder(tmp_path, fps=5)] == [1, 2, 10]


def test_a_broken_image_leaves_a_visible_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(number))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-20])
    (tmp_path / "3.png").write_bytes(b"no picture")
    assert [image.index for image in ImageFolder(tmp_path, fps=1)] == [0, 2]
    assert "1.jpg is left out: JPEG: no end marker" in caplog.text
    assert "3.png is left out" in caplog.text


def test_what_only_has_the_name_of_an_image_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in (0, 4):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(number))
    (tmp_path / "1.jpg").mkdir()
    (tmp_path / "2.jpg").symlink_to(tmp_path / "nowhere")
    cv2.imwrite(str(tmp_path / "3.png"), np.zeros((1, 70_000, 3), np.uint8))
    # A folder is no image; the others leave a gap.
    assert [image.index for image in ImageFolder(tmp_path, fps=5)] == [0, 3]
    assert "2.jpg is left out: image" in caplog.text
    assert "3.png is left out: frame 2: expected sides that JPEG can have, got 70000 x 1 pixels" in caplog.text


@pytest.mark.parametrize(("fps", "reason"), [(5, "no images"), (None, "no images")])
def test_empty_folder(tmp_path: Path, fps: float | None, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        ImageFolder(tmp_path, fps=fps)


def test_folder_needs_a_rate(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.jpg"), picture(0))
    with pytest.raises(InvalidInputError, match=r"positive frame rate, got None\n.*--fps"):
        ImageFolder(tmp_path, fps=None)


@pytest.mark.parametrize("address", ["http://host/video", "ftp://host/clip.mp4"])
def test_other_schemes_are_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match="expected rtsp://"):
        open_source(address)


def test_live_cameras_have_no_rate_to_give() -> None:
    with pytest.raises(InvalidInputError, match="no fps"):
        open_source("rtsp://host/stream", fps=5)


def test_nobody_answers_at_a_closed_port() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    camera = RtspCamera(f"rtsp://user:secret@127.0.0.1:{port}/live", open_timeout_s=1, connect_limit_s=1)
    with pytest.raises(ServiceUnavailableError, match=rf"rtsp://127.0.0.1:{port}/live: no video") as failure:
        next(iter(camera))
    assert time.monotonic() - started < 10
    assert "secret" not in str(failure.value)


def test_a_camera_that_accepts_and_stays_silent_runs_into_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(ServiceUnavailableError, match="no video within 2 s"):
            next(iter(RtspCamera(f"rtsp://127.0.0.1:{port}/live", open_timeout_s=1, connect_limit_s=2)))
    assert time.monotonic() - started < 15


class BlindCapture:
    """Opens at once and gives no frames."""

    opened = 0

    def __init__(self, *_: object) -> None:
        type(self).opened += 1

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, None]:
        return False, None

    def release(self) -> None:
        pass


def test_a_camera_that_opens_and_gives_no_frames_is_gone_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlindCapture, "opened", 0)
    monkeypatch.setattr(cv2, "VideoCapture", BlindCapture)
    with pytest.raises(ServiceUnavailableError, match="rtsp://host/live: no video within 1 s") as failure:
        next(iter(RtspCamera("rtsp://user:secret@host/live", connect_limit_s=1)))
    assert 2 <= BlindCapture.opened <= 6
    assert "secret" not in str(failure.value)


def test_a_stop_ends_a_camera_that_is_silent() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        camera = RtspCamera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", open_timeout_s=60)
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        assert list(camera.until(stop)) == []
    assert time.monotonic() - started < 30


def test_a_stop_ends_a_camera_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", BlindCapture)
    monkeypatch.setattr(sources, "_FIRST_WAIT_S", 60)
    monkeypatch.setattr(sources, "_LONGEST_WAIT_S", 60)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    assert list(RtspCamera("rtsp://host/live").until(stop)) == []
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("secret", ["user:pass@", "user:pa/ss@", "user:p@ss@", ""])
def test_addresses_are_shown_without_passwords(secret: str) -> None:
    assert without_password(f"camera rtsp://{secret}host/live is gone") == "camera rtsp://host/live is gone"


def test_pets_clip_has_its_795_frames() -> None:
    data = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    video = data / "pets09_s2l1" / "vtest.avi"
    if not video.is_file():
        pytest.skip(f"{video} is not here")
    source = VideoFile(video, fps=7, first_frame=790)
    assert source.expected == 5
    assert [image.index for image in source] == [790, 791, 792, 793, 794]
