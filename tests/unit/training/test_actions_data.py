from pathlib import Path

import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions_data import prepare_clips
from tests.support.clips import moving_square, write_strip, write_strips

SMALL = {"frames": 6, "size": 16}


def test_clips_are_read_split_and_described(tmp_path: Path) -> None:
    source, folder = write_strips(tmp_path / "raw"), tmp_path / "prepared"
    write_strip(source / "stay" / "z-cut.png", moving_square(100, moves=False)[:, ::-1, ::-1][:, ::-1, ::-1])
    folder.mkdir()
    card = prepare_clips(source, folder, SMALL)
    assert sum(card["samples"].values()) == 25
    assert card["choices"]["loss"] == "cross_entropy"
    parts = {part: read_clips(folder, part) for part in ("train", "val", "test")}
    assert {part: len(clips) for part, clips in parts.items()} == card["samples"]
    assert all(clips.frames.shape[1:] == (6, 16, 16, 3) for clips in parts.values())
    entries = [entry for clips in parts.values() for entry in clips.entries]
    twins = [entry for entry in entries if entry.name in ("stay/s00.png", "stay/z-cut.png")]
    assert len({(entry.part, entry.group) for entry in twins}) == 1
    names = [entry.name for entry in parts[twins[0].part].entries]
    first, second = (names.index(twin.name) for twin in twins)
    groups = parts[twins[0].part].groups
    assert groups.shape == (len(names),)
    assert groups[first] == groups[second]
    assert len(set(groups.tolist())) == len({entry.group for entry in parts[twins[0].part].entries}) < len(names)
    first = parts[entries[0].part]
    assert first.targets[0, first.labels[0]] == 1.0


def test_a_clip_of_black_frames_is_left_out_and_named(tmp_path: Path) -> None:
    source, folder = write_strips(tmp_path / "raw"), tmp_path / "prepared"
    write_strip(source / "stay" / "night.png", np.zeros((4, 16, 16, 3), np.uint8))
    folder.mkdir()
    card = prepare_clips(source, folder, SMALL)
    assert list(card["left_out"]) == ["stay/night.png"]
    assert sum(card["samples"].values()) == 24


def test_a_class_of_which_nothing_is_left_is_no_class(tmp_path: Path) -> None:
    source, folder = write_strips(tmp_path / "raw"), tmp_path / "prepared"
    for number in range(12):
        write_strip(source / "night" / f"n{number}.png", np.zeros((4, 16, 16, 3), np.uint8))
    folder.mkdir()
    with pytest.raises(
        InvalidInputError, match=r"class night: each of its clips is left out.*n0\.png: expected 2 good"
    ):
        prepare_clips(source, folder, SMALL)


def test_one_actor_can_be_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    folder.mkdir()
    for actor in range(8):
        for moves in (True, False):
            write_strip(tmp_path / "raw" / str(moves) / f"actor{actor}.png", moving_square(actor, moves=moves))
    prepare_clips(tmp_path / "raw", folder, {**SMALL, "group_by": "name", "held_out": "actor3"})
    assert {entry.name for entry in read_clips(folder, "test").entries} == {"False/actor3.png", "True/actor3.png"}


@pytest.mark.parametrize(
    ("options", "said"),
    [({"colour": 1}, "no option colour"), ({"frames": 1}, "2 frames or more"), ({"fold": 5}, "fold")],
)
def test_options_that_are_none_are_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=said):
        prepare_clips(write_strips(tmp_path, 1), tmp_path, options)
