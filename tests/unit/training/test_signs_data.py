from pathlib import Path

import numpy as np
import pytest
from support.gtsrb import write_gtsrb

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.gtsrb import read_gtsrb
from pathcast.recognition.sign_augmentation import MARGIN
from pathcast.training.family import find_family
from pathcast.training.prepared import prepare
from pathcast.training.signs_data import SplitSettings, read_signs, split


def test_a_track_lies_in_one_part_and_every_class_is_learned_and_checked(tmp_path: Path) -> None:
    found = read_gtsrb(write_gtsrb(tmp_path, tracks=4))
    parts = split(found, SplitSettings(val=0.25))
    tracks = {part: {row.track for row in rows} for part, rows in parts.items()}
    assert not tracks["train"] & tracks["val"]
    assert {row.label for row in parts["val"]} == {row.label for row in parts["train"]} == {0, 1, 14}
    assert (len(tracks["train"]), len(tracks["val"])) == (9, 3)
    assert parts["test"] == list(found.test)
    assert split(found, SplitSettings(val=0.25)) == parts
    assert split(found, SplitSettings(val=0.25, seed=2)) != parts


@pytest.mark.parametrize(("tracks", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (6, 2, 2))])
def test_without_a_test_set_tracks_are_held_out(tmp_path: Path, tracks: int, expected: tuple[int, ...]) -> None:
    found = read_gtsrb(write_gtsrb(tmp_path, (0, 1), tracks=tracks, frames=1, test=0))
    parts = split(found, SplitSettings(val=0.2, test=0.2))
    assert tuple(len({row.track for row in rows if row.label == 0}) for rows in parts.values()) == expected


def test_the_card_counts_and_the_parts_are_read_back(tmp_path: Path) -> None:
    prepared = prepare(find_family("signs"), write_gtsrb(tmp_path / "raw"), tmp_path / "data", {"val": 0.3})
    assert prepared.card["samples"] == {"train": 18, "val": 9, "test": 6}
    assert prepared.card["tracks"] == {"train": 6, "val": 3, "test": 0}
    assert prepared.card["classes"]["train"] == {"speed limit 20": 6, "speed limit 30": 6, "stop": 6}
    assert prepared.card["choices"]["metric"] == "accuracy"
    train = read_signs(prepared.folder, "train")
    assert train.images.shape == (18, 48 + 2 * MARGIN, 48 + 2 * MARGIN, 3)
    assert sorted(set(train.labels.tolist())) == [0, 1, 14]
    rows = split(read_gtsrb(tmp_path / "raw"), SplitSettings(val=0.3))["train"]
    crops = [read_gtsrb(tmp_path / "raw").crop(row, 48, MARGIN) for row in rows]
    assert np.array_equal(train.images, crops)
    assert train.labels.tolist() == [row.label for row in rows]
    same_track = [[one.track == other.track for other in rows] for one in rows]
    assert np.array_equal(train.tracks[:, None] == train.tracks, same_track)
    # Whose track nobody knows stands by itself.
    assert sorted(read_signs(prepared.folder, "test").tracks.tolist()) == list(range(6))


def test_a_folder_from_before_tracks_is_to_be_prepared_again(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", images=np.zeros((1, 64, 64, 3), np.uint8), labels=[0])
    with pytest.raises(InvalidInputError, match="test.npz: expected signs with labels and tracks: .*tracks") as error:
        read_signs(tmp_path, "test")
    assert error.value.hint == "prepare the folder again from the raw data"


def _unseen(folder: Path) -> None:
    table = folder / "GTSRB/Final_Test/GT-final_test.csv"
    table.write_text(table.read_text().replace(";14\n", ";17\n"))


@pytest.mark.parametrize(
    ("change", "options", "expectation"),
    [
        (_unseen, {}, "got none of no entry"),
        (None, {"share": 0.1}, "no option share; expected one of seed, test, val"),
        (None, {"val": 0.7, "test": 0.3}, "leave something to learn from"),
    ],
)
def test_what_cannot_be_learned_leaves_nothing_behind(
    tmp_path: Path, change: object, options: dict[str, float], expectation: str
) -> None:
    raw = write_gtsrb(tmp_path / "raw")
    if callable(change):
        change(raw)
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInputError, match=expectation):
        prepare(find_family("signs"), raw, tmp_path / "out" / "data", options)
    assert list((tmp_path / "out").iterdir()) == []


def test_one_unreadable_picture_of_many_leaves_nothing_behind(tmp_path: Path) -> None:
    raw = write_gtsrb(tmp_path / "raw")
    (raw / "GTSRB/Final_Test/Images/00003.ppm").write_bytes(b"")
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInputError, match=r"GT-final_test.csv row 5: .*00003.ppm: not an image"):
        prepare(find_family("signs"), raw, tmp_path / "out" / "data")
    assert list((tmp_path / "out").iterdir()) == []
