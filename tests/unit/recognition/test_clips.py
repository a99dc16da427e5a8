from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.clips import find_clips, read_frames
from tests.support.clips import moving_square, write_strip, write_strips, write_video
from tests.support.pictures import VAST_PNG

CLIP = moving_square(1, moves=True)


def write_ucf(root: Path) -> Path:
    """Two classes, two groups of two clips each; group 2 is the test part."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Clap\n2 Wave\n")
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for number, name in enumerate(("Clap", "Wave"), 1):
        for group in (1, 2):
            for cut in (1, 2):
                clip = f"{name}/v_{name}_g{group:02d}_c{cut:02d}.avi"
                write_video(root / "UCF-101" / clip, CLIP)
                parts["train" if group == 1 else "test"].append(f"{clip} {number}" if group == 1 else clip)
    for part, lines in parts.items():
        (lists / f"{part}list01.txt").write_text("\n".join(lines) + "\n")
    return root


def test_ucf101_is_read_by_its_lists(tmp_path: Path) -> None:
    found = find_clips(write_ucf(tmp_path))
    assert found.classes == ("Clap", "Wave")
    assert [(file.label, file.part, file.group) for file in found.files[:2]] == [("Clap", "train", "Clap-g01")] * 2
    assert sum(file.part == "test" for file in found.files) == 4
    assert read_frames(found.files[0].path, 4, 32).shape == (4, 32, 32, 3)


def test_folders_are_classes_and_strips_are_clips(tmp_path: Path) -> None:
    found = find_clips(write_strips(tmp_path, 2))
    assert found.classes == ("stay", "wander")
    assert [file.path.name for file in found.files] == ["s00.png", "s01.png", "w00.png", "w01.png"]
    first = moving_square(100, moves=False)
    assert np.array_equal(read_frames(found.files[0].path, 20, 32), first), "png loses nothing, order and colours stay"
    assert np.array_equal(read_frames(found.files[0].path, 2, 32), first[[0, -1]])


def test_a_video_gives_frames_in_order(tmp_path: Path) -> None:
    write_video(
        tmp_path / "clip.avi",
        np.arange(0, 240, 24, np.uint8)[:, None, None, None] + np.zeros((10, 32, 32, 3), np.uint8),
    )
    means = read_frames(tmp_path / "clip.avi", 5, 16).mean(axis=(1, 2, 3))
    assert len(means) == 5
    assert (np.diff(means) > 20).all()


def empty(root: Path) -> None:
    pass


def one_class(root: Path) -> None:
    write_strip(root / "only" / "a.png", CLIP)


def class_without_clips(root: Path) -> None:
    write_strips(root, 1)
    (root / "never").mkdir()


def class_with_a_comma(root: Path) -> None:
    write_strips(root, 1)
    (root / "stay").rename(root / "stay, then go")


def unlisted_class(root: Path) -> None:
    write_ucf(root)
    (root / "ucfTrainTestlist" / "testlist01.txt").write_text("Juggle/v_Juggle_g02_c01.avi\n")


def missing_video(root: Path) -> None:
    write_ucf(root)
    (root / "UCF-101" / "Wave" / "v_Wave_g02_c02.avi").unlink()


def bad_class_list(root: Path) -> None:
    write_ucf(root)
    (root / "ucfTrainTestlist" / "classInd.txt").write_text("1 Clap\n3 Wave\n")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (empty, "found no clip"),
        (one_class, "two classes or more"),
        (class_without_clips, "class never: expected at least one clip"),
        (class_with_a_comma, "class 'stay, then go': expected a name without a comma"),
        (unlisted_class, "Juggle"),
        (missing_video, "v_Wave_g02_c02.avi: no such clip"),
        (bad_class_list, "'3 Wave'"),
    ],
)
def test_what_is_no_data_set_is_named(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(InvalidInputError, match=said):
        find_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"not an image", "cannot be read"),
        ("a.png", VAST_PNG, "cannot be read"),
        ("a.avi", b"not a video", "no frame of it can be read"),
        ("a.avi", b"", "no frame of it can be read"),
    ],
)
def test_what_is_no_clip_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"{name}.*{said}"):
        read_frames(tmp_path / name, 4, 16)


def test_a_strip_has_square_frames(tmp_path: Path) -> None:
    write_strip(tmp_path / "a.png", CLIP[:, :30])
    with pytest.raises(InvalidInputError, match="square frames side by side, got 256 x 30"):
        read_frames(tmp_path / "a.png", 4, 16)
