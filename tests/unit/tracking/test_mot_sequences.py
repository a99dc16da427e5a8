from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pathcast.core import InvalidInputError
from pathcast.tracking.mot_format import SequenceInfo, write_sequence_info
from pathcast.tracking.mot_sequences import detections_file, find_sequences, pictures_of, read_detections

INFO = SequenceInfo("one", 10, 2, 640, 480)
SURE, LOUD, UNLIKELY = ("1,-1,0,0,5,5,.75,-1,-1,-1\n", "2,-1,0,0,5,5,60,-1,-1,-1\n", "1,-1,0,0,5,5,-2,-1,-1,-1\n")


def write_detections(folder: Path, rows: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "det.txt").write_text(rows)
    return folder / "det.txt"


def make_sequence(folder: Path, name: str = "one") -> Path:
    folder.mkdir(parents=True)
    write_sequence_info(folder, SequenceInfo(name, 10, 2, 640, 480))
    return folder


def test_sequences_are_found_at_any_depth(tmp_path: Path) -> None:
    one, two = make_sequence(tmp_path / "raw" / "deep" / "one"), make_sequence(tmp_path / "two", "two")
    assert find_sequences([tmp_path / "raw", two]) == (one, two)


def test_sequences_behind_links_are_found_once(tmp_path: Path) -> None:
    make_sequence(tmp_path / "store" / "two", "two")
    one = make_sequence(tmp_path / "raw" / "one")
    (tmp_path / "raw" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "raw" / "round").symlink_to(tmp_path / "raw")
    assert find_sequences([tmp_path / "raw"]) == (tmp_path / "raw" / "linked" / "two", one)
    # Of several ways to one the first by name is taken, whatever order the file system has.
    for name in ("9", "0", "5"):
        (tmp_path / "raw" / name).symlink_to(tmp_path / "store" / "two")
    assert find_sequences([tmp_path / "raw"]) == (tmp_path / "raw" / "0", one)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["one/img1/", "one/a.mp4"], "one/img1"),
        (["one/a.mp4", "b.mp4"], "one/a.mp4"),
        (["a.mp4"], "a.mp4"),
        (["a.mp4", "one.avi", "two.avi"], "one.avi"),
        (["a.mp4", "folder.avi", "notes.txt"], "folder.avi"),
        (["notes.txt"], None),
        (["a.mp4", "b.mp4"], "expected one video of the sequence in .*, found 2"),
        (["one.mp4", "folder.avi"], "expected one video of the sequence in .*, found 2"),
    ],
)
def test_a_sequences_pictures_are_its_own(tmp_path: Path, files: list[str], expected: str | None) -> None:
    sequence = make_sequence(tmp_path / "folder")
    for name in files:
        path = tmp_path / name.replace("one/", "folder/")
        path.mkdir() if name.endswith("/") else path.touch()
    if expected is not None and " " in expected:
        with pytest.raises(InvalidInputError, match=expected):
            pictures_of(sequence, INFO)
    else:
        found = None if expected is None else tmp_path / expected.replace("one/", "folder/")
        assert pictures_of(sequence, INFO) == found


def test_a_video_of_another_sequence_is_not_taken(tmp_path: Path) -> None:
    one, other = make_sequence(tmp_path / "one"), make_sequence(tmp_path / "other")
    (tmp_path / "other.mp4").touch()
    assert pictures_of(one, replace(INFO, name="one")) is None
    assert pictures_of(other, replace(INFO, name="other")) == tmp_path / "other.mp4"
    (tmp_path / "gate.mp4").touch()
    assert pictures_of(one, replace(INFO, name="one")) == tmp_path / "gate.mp4"


def test_a_folder_without_sequences_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"found no seqinfo\.ini"):
        find_sequences([tmp_path])


def test_two_sequences_of_one_name_are_refused(tmp_path: Path) -> None:
    make_sequence(tmp_path / "a")
    make_sequence(tmp_path / "b")
    with pytest.raises(InvalidInputError, match=r"/b: expected a name of its own, .*/a is one too"):
        find_sequences([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["det"], "one/det/det.txt"), (["yolo"], "yolo/det.txt"), (["other", "yolo", "det"], "yolo/det.txt")],
)
def test_detections_are_those_of_the_first_folder_there_is(tmp_path: Path, names: list[str], expected: str) -> None:
    sequence = make_sequence(tmp_path / "one")
    write_detections(sequence / "det", SURE)
    write_detections(tmp_path / "yolo", SURE)
    assert detections_file(sequence, names) == tmp_path / expected


def test_every_frame_has_its_detections(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path / "one")
    write_detections(sequence / "det", SURE)
    first, second = read_detections(sequence, INFO, ["det"])
    assert first.scores.tolist() == [0.75]
    assert len(second) == 0


FAR = "1,-1,1e39,0,5,5,.5,-1,-1,-1\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, r"one: expected detections at one of .*one/det/det\.txt, .*/det/det\.txt"),
        (SURE + LOUD, r"one/det/det\.txt: scores: expected values in \[0, 1\], got 60\.0 to 60\.0"),
        (SURE + UNLIKELY, r"one/det/det\.txt: scores: .* got -2\.0 to 0\.75"),
        (FAR, r"one/det/det\.txt: xyxy: row 0 is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("others", [[], ["frcnn", "yolo"]])
def test_unfit_detections_are_refused_with_the_others_that_are_there(
    tmp_path: Path, rows: str | None, message: str, others: list[str]
) -> None:
    sequence = make_sequence(tmp_path / "one")
    for name, place in zip(others, (sequence, tmp_path), strict=False):
        write_detections(place / name, SURE)
    if rows is not None:
        write_detections(sequence / "det", rows)
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_detections(sequence, INFO, ["det"])
    hint = "`--detections` of a command names others; there are: frcnn, yolo"
    alone = "bring a detector's scores into [0, 1], in their order: by 1 / (1 + exp(-score)), say"
    assert raised.value.hint == (hint if others else alone if "scores" in message else None)


def test_a_confidence_that_rounds_to_one_is_one(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path / "one")
    write_detections(sequence / "det", "1,-1,0,0,5,5,1.00000001,-1,-1,-1\n")
    assert read_detections(sequence, INFO, ["det"])[0].scores.tolist() == [1]
