from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.serving.batch.videos import find_videos, open_video
from pathcast.serving.mp4 import Mp4Writer, join_videos
from tests.unit.serving.batch.conftest import picture


@pytest.fixture
def video_file(tmp_path: Path) -> Path:
    path = tmp_path / "it's.mp4"
    with Mp4Writer(path, 12.5) as writer:
        for frame in range(30):
            writer.write(picture(frame))
    return path


@pytest.mark.parametrize("first", [0, 1, 13, 29, 30, 99])
def test_frames_from_any_number_on_are_those_of_the_whole(video_file: Path, first: int) -> None:
    video = open_video(video_file)
    assert (video.frames_per_second, video.expected) == (12.5, 30)
    whole, part = list(video.frames()), list(video.frames(first))
    assert len(part) == max(0, 30 - first)
    assert all((one == other).all() for one, other in zip(whole[first:], part, strict=True))


def test_colours_come_back_as_they_were(tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (220, 40, 30), (30, 60, 210)
    with Mp4Writer(tmp_path / "colours.mp4", 10) as writer:
        writer.write(image)
    (back,) = open_video(tmp_path / "colours.mp4").frames()
    assert np.abs(back[32, [8, 56]].astype(int) - image[32, [8, 56]]).max() < 12


def test_joined_parts_hold_the_same_frames(video_file: Path, tmp_path: Path) -> None:
    join_videos([video_file, video_file], tmp_path / "joined.mp4")
    one, both = list(open_video(video_file).frames()), list(open_video(tmp_path / "joined.mp4").frames())
    assert len(both) == 60
    assert all((first == second).all() for first, second in zip(one + one, both, strict=True))


def test_a_folder_of_videos_is_each_of_them_and_one_of_images_is_one(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    for name in ("b.mp4", "a.avi", "notes.txt"):
        (folder / name).touch()
    assert [path.name for path in find_videos(folder)] == ["a.avi", "b.mp4"]
    assert find_videos(clip) == [clip]
    assert open_video(clip, 5).expected == 70


def test_links_to_nowhere_are_not_left_out(clip: Path, tmp_path: Path) -> None:
    (clip / "0003.png").unlink()
    (clip / "0003.png").symlink_to("nowhere")
    with pytest.raises(PathcastError, match=r"0003\.png"):
        list(open_video(clip, 5).frames())
    (tmp_path / "several").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "several" / name).symlink_to("nowhere")
    assert [path.name for path in find_videos(tmp_path / "several")] == ["a.mp4", "b.mp4"]


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("gate.mp4", "gate.avi"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidInputError, match=r"gate\.mp4: expected a name of its own, .* those of gate\.avi"):
        find_videos(tmp_path)


def test_a_fingerprint_tells_videos_apart(clip: Path) -> None:
    same, other_rate = open_video(clip, 10).fingerprint(), open_video(clip, 11).fingerprint()
    assert open_video(clip, 10).fingerprint() == same != other_rate
    cv2.imwrite(str(clip / "0070.png"), picture(70))
    assert open_video(clip, 10).fingerprint() != same


def test_images_of_any_name_have_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xe4.png")).write_bytes(cv2.imencode(".png", picture(1))[1].tobytes())
    assert len(open_video(tmp_path, 10).fingerprint()) == 64


def test_a_longer_file_with_the_same_ends_is_another(tmp_path: Path) -> None:
    prints = set()
    for length in (3 << 20, 4 << 20):
        (tmp_path / "0.png").write_bytes(bytes(length))
        prints.add(open_video(tmp_path, 10).fingerprint())
    assert len(prints) == 2


def test_an_image_of_the_same_name_and_size_is_another(tmp_path: Path) -> None:
    prints = set()
    for shade in (1, 2):
        cv2.imwrite(str(tmp_path / "0.bmp"), np.full((8, 8, 3), shade, np.uint8))
        prints.add(open_video(tmp_path, 10).fingerprint())
    assert len(prints) == 2


def test_numbers_in_the_names_of_images_count_by_value(tmp_path: Path) -> None:
    for number in (10, 1, 2):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), picture(number))
    assert [path.stem for path in open_video(tmp_path, 10).images] == ["frame_1", "frame_2", "frame_10"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "expected a folder of images or videos"),
        (lambda path: path.write_text("no video"), "cannot be opened as one"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "source"
    make(path)  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match=message):
        open_video(path, 10.0)


def test_what_a_folder_is_read_for_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.heic").touch()
    with pytest.raises(InvalidInputError) as error:
        open_video(tmp_path, 10.0)
    assert {".png", ".mp4", ".m2ts"} <= set((error.value.hint or "").replace(",", "").split())


@pytest.mark.parametrize("suffix", [".ts", ".m2ts", ".mts", ".m4v", ".wmv", ".flv", ".3gp"])
def test_videos_of_many_kinds_are_read(video_file: Path, tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "kinds"
    folder.mkdir()
    codec = ["-s", "176x144", "-c:v", {".wmv": "wmv2", ".flv": "flv", ".3gp": "h263"}.get(suffix, "libx264")]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    subprocess.run([*program, "-i", video_file, *codec, "-r", "25", folder / f"gate{suffix}"], check=True)
    (path,) = find_videos(folder)
    assert path.suffix == suffix
    assert len(list(open_video(path).frames())) >= 30


def test_folders_with_names_of_images_and_videos_are_none(clip: Path, tmp_path: Path) -> None:
    for name in ("old.png", "old.mp4"):
        (clip / name).mkdir()
    assert find_videos(clip) == [clip]
    assert len(open_video(clip, 10).images) == 70


def encoded(frame: int) -> bytes:
    return bytes(cv2.imencode(".jpg", picture(frame))[1])


def with_thumbnail(jpeg: bytes, thumbnail: bytes) -> bytes:
    segment = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


@pytest.mark.parametrize("name", ["2.jpg", "2.JPEG"])
@pytest.mark.parametrize("cut", [lambda jpeg: jpeg[:-40], lambda jpeg: with_thumbnail(jpeg, encoded(9))[:-40]])
def test_a_jpeg_that_is_cut_off_is_named(tmp_path: Path, name: str, cut: Callable[[bytes], bytes]) -> None:
    (tmp_path / "1.jpg").write_bytes(encoded(1))
    (tmp_path / name).write_bytes(cut(encoded(2)))
    with pytest.raises(InvalidInputError, match=rf"{name}: JPEG: .*cut off\n.*remove or replace it"):
        list(open_video(tmp_path, 10).frames())


@pytest.mark.parametrize(
    "content",
    [
        encoded(1) + b"\0\0",
        encoded(1) + b"what a camera appends",
        with_thumbnail(encoded(1), encoded(9)),
        bytes(cv2.imencode(".png", picture(1))[1]),
    ],
)
def test_a_whole_image_is_read_whatever_is_around_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1.jpg").write_bytes(content)
    assert len(list(open_video(tmp_path, 10).frames())) == 1


@pytest.mark.parametrize("name", ["iterdir", "is_dir"])
def test_a_folder_that_may_not_be_read_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Path, name, forbidden)
    for read in (find_videos, open_video):
        with pytest.raises(InvalidInputError, match="walkers: cannot be read: Permission denied\n.*permissions"):
            read(clip)


def test_files_that_may_not_be_read_are_named(clip: Path, video_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_video(clip, 10)
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(InvalidInputError, match="it's.mp4: cannot be read: Permission denied"):
        open_video(video_file)
    with pytest.raises(InvalidInputError, match="0000.png: cannot be read: Permission denied"):
        images.fingerprint()
    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(InvalidInputError, match="0000.png: cannot be read: Permission denied"):
        next(images.frames())


def forbidden(path: Path, *_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_images_need_a_rate(clip: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected a positive frame rate"):
        open_video(clip)
