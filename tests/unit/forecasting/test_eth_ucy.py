from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.forecasting.eth_ucy import RECORDINGS, SCENES, read_split, read_test, read_trajectories


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "square.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_tracks_are_split_at_gaps(tmp_path: Path) -> None:
    rows = "".join(f"{frame}\t7.0\t{frame / 10}\t-1.5\n" for frame in (780, 790, 800, 830, 840))
    first, second = read_trajectories(written(tmp_path, rows + "780.0\t8.0\t1\t2\n"))[:2]
    assert (first.track_id, first.first_step, len(first)) == (7, 78, 3)
    assert (second.track_id, second.first_step, len(second)) == (7, 83, 2)
    np.testing.assert_array_equal(second.positions, [[83.0, -1.5], [84.0, -1.5]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got an empty file"),
        ("0\t1\t2\n", r"square.txt row 1: expected 4 columns \(frame, id, x, y\), got 3"),
        ("0\t1\t2\t3\n10\t1\t2\tnan\n", "square.txt row 2: y: expected a finite number, got 'nan'"),
        ("0\t1\tleft\t3\n", "square.txt row 1: x: expected a finite number, got 'left'"),
        ("0\t1.5\t2\t3\n", "square.txt row 1: id: expected a whole number, got 1.5"),
        (
            "0\t1\t2\t3\n0\t2\t2\t3\n0\t1\t2\t3\n",
            "row 3: expected one row per frame for id 1, frame 0 is also in row 1",
        ),
        ("0\t1\t2\t3\n7\t1\t2\t3\n", "row 2: expected id 1 at multiples of 10 frames after frame 0, got frame 7"),
    ],
)
def test_bad_files_name_the_row_and_the_expectation(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_trajectories(written(tmp_path, text))


def test_a_missing_file_and_an_unknown_scene(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        read_trajectories(tmp_path / "none.txt")
    with pytest.raises(InvalidInputError, match="expected one of eth, hotel"):
        read_test(tmp_path, "moon")


def test_a_recording_without_a_window_is_named(tmp_path: Path) -> None:
    (tmp_path / "all_data").mkdir()
    path = tmp_path / "all_data" / "biwi_eth.txt"
    path.write_text("0\t1\t2\t3\n", encoding="utf-8")
    with pytest.raises(
        InvalidInputError, match=f"^{path}: .*expected at least one trajectory of 20 .* longest .* has 1"
    ):
        read_test(tmp_path, "eth")


def test_the_test_scene_is_in_no_other_part(eth_ucy_root: Path) -> None:
    counts = {scene: len(read_test(eth_ucy_root, scene)) for scene in SCENES}
    assert counts == {"eth": 364, "hotel": 1197, "univ": 24334, "zara1": 2356, "zara2": 5910}
    everything = [len(part) for part in read_split(eth_ucy_root, None)]
    without_univ = [len(part) for part in read_split(eth_ucy_root, "univ")]
    assert everything == [30553, 5521]
    assert without_univ == [9874, 2800]
    assert {name for names in SCENES.values() for name in names} < set(RECORDINGS)
