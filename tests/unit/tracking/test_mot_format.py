from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core import FrameTracks, InvalidInputError
from pathcast.tracking.mot_format import (
    MotBoxes,
    SequenceInfo,
    from_tracks,
    read_boxes,
    read_sequence_info,
    to_detections,
    write_boxes,
    write_sequence_info,
)

INFO = SequenceInfo("gate", 12.5, 300, 640, 480)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gt.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_read_as_corners_and_sorted_by_frame(tmp_path: Path) -> None:
    boxes = read_boxes(written(tmp_path, "2,7,10,20,5,6,1,-1,-1,-1\n\n1, 8, 1.5,2,3,4,0.25,1,2,3\n1,7,0,0,1,1,1\n"))
    assert boxes.frames.tolist() == [1, 1, 2]
    assert boxes.ids.tolist() == [8, 7, 7]
    assert boxes.xyxy.tolist() == [[1.5, 2, 4.5, 6], [0, 0, 1, 1], [10, 20, 15, 26]]
    assert boxes.confidences.tolist() == [0.25, 1, 1]
    assert boxes.classes.tolist() == [1, 1, 1]


def test_mot16_has_a_class_where_mot15_has_the_world(tmp_path: Path) -> None:
    rows = "1,1,0,0,5,5,1,3,0.5\n1,2,0,0,5,5,1,-1,-1\n1,3,0,0,5,5,1,7\n1,4,0,0,5,5,1,3.5,2,0\n"
    assert read_boxes(written(tmp_path, rows)).classes.tolist() == [3, 1, 7, 1]


def test_an_empty_file_has_no_boxes(tmp_path: Path) -> None:
    assert len(read_boxes(written(tmp_path, ""), length=3, identified=True)) == 0


GOOD = "1,1,0,0,5,5,1,-1,-1,-1\n\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,1,0,0,5,5", "row 3: expected 7 or more columns, got 6"),
        ("1,2,0,x,5,5,1", "row 3: could not convert string to float: 'x'"),
        ("1,2,0,nan,5,5,1", "row 3: expected a finite number in every column"),
        ("0,2,0,0,5,5,1", "row 3: expected a whole frame number from 1 to 9"),
        ("1.5,2,0,0,5,5,1", "row 3: expected a whole frame number"),
        ("10,2,0,0,5,5,1", "row 3: expected a whole frame number from 1 to 9"),
        ("1,2.5,0,0,5,5,1", "row 3: expected a whole id"),
        ("1,2,0,0,5,5,1,3.5,1", "row 3: expected a whole class in column 8"),
        ("1,2,0,0,-5,5,1", "row 3: expected width and height of 0 or more"),
        ("1,-1,0,0,5,5,1", "row 3: expected an id above 0"),
        ("1,1,3,0,5,5,1", "row 3: expected an id at most once in a frame"),
    ],
)
def test_a_bad_row_is_named_with_its_file(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path, GOOD + row + "\n")
    with pytest.raises(InvalidInputError) as raised:
        read_boxes(path, length=9, identified=True)
    assert str(path) in raised.value.message
    assert message in raised.value.message


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing.txt: no such file"):
        read_boxes(tmp_path / "nothing.txt")
    (tmp_path / "det.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="det.txt: not a text file"):
        read_boxes(tmp_path / "det.txt")


EIGHTHS = st.integers(-8000, 8000).map(lambda value: value / 8)
SIZES = st.integers(0, 4000).map(lambda value: value / 8)
ROWS = st.lists(
    st.tuples(st.integers(1, 20), st.integers(-1, 50), EIGHTHS, EIGHTHS, SIZES, SIZES, EIGHTHS), max_size=12
)


@given(ROWS)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, float, float, float, float, float]]
) -> None:
    table = np.array(rows, dtype=float).reshape(-1, 7)
    corners = np.hstack((table[:, 2:4], table[:, 2:4] + table[:, 4:6]))
    boxes = MotBoxes(table[:, 0], table[:, 1], corners, table[:, 6])
    path = tmp_path_factory.mktemp("mot") / "boxes.txt"
    write_boxes(path, boxes)
    back = read_boxes(path)
    for name in ("frames", "ids", "xyxy", "confidences"):
        np.testing.assert_array_equal(getattr(back, name), getattr(boxes, name))


def test_sequence_info_round_trip(tmp_path: Path) -> None:
    assert write_sequence_info(tmp_path, INFO).name == "seqinfo.ini"
    assert read_sequence_info(tmp_path) == INFO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "key 'Sequence' is missing"),
        ("[Sequence]\nname=a\nseqLength=3\nimWidth=4\nimHeight=4\n", "key 'frameRate' is missing"),
        ("[Sequence]\nframeRate=7\nseqLength=x\nimWidth=4\nimHeight=4\n", "invalid literal"),
        *(
            (f"[Sequence]\nframeRate={rate}\nseqLength=3\nimWidth=4\nimHeight=4\n", f"frameRate: .*, got {rate}")
            for rate in ("0", "-5", "1e-300", "inf", "nan")
        ),
        ("[Sequence]\nframeRate=7\nseqLength=3\nimWidth=0\nimHeight=4\n", "expected positive seqLength, imWidth"),
        ("nonsense", "no section headers"),
    ],
)
def test_bad_sequence_info_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "seqinfo.ini").write_text(text)
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_sequence_info(tmp_path)
    assert "seqinfo.ini" in raised.value.message


def test_a_folder_without_sequence_info_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"seqinfo\.ini: no such file"):
        read_sequence_info(tmp_path)


def test_detections_of_each_frame() -> None:
    boxes = MotBoxes([3, 1, 1], [-1, -1, -1], [[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]], [0.5, 0.25, 1])
    frames = to_detections(boxes, 4)
    assert [len(frame) for frame in frames] == [2, 0, 1, 0]
    assert frames[0].scores.tolist() == [0.25, 1]
    assert frames[2].xyxy.tolist() == [[0, 0, 1, 1]]


def test_results_become_boxes() -> None:
    empty = FrameTracks([], [], [], [], [])
    some = FrameTracks([2, 5], [[0, 0, 1, 1], [1, 1, 2, 2]], [0.5, 0.25], [0, 0], [0, -1])
    boxes = from_tracks({1: empty, 2: some})
    assert boxes.frames.tolist() == [2, 2]
    assert boxes.ids.tolist() == [2, 5]
    assert len(from_tracks({})) == 0


def test_files_may_begin_with_a_byte_order_mark_and_names_hold_percents(tmp_path: Path) -> None:
    assert len(read_boxes(written(tmp_path, "\ufeff1,7,0,0,1,1,1\n"))) == 1
    info = SequenceInfo("50% night", 12.5, 300, 640, 480)
    path = write_sequence_info(tmp_path, info)
    path.write_text("\ufeff" + path.read_text())
    assert read_sequence_info(tmp_path) == info
