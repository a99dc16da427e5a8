from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import Fault
from pathcast.detection.yolo_text import image_files, read_yolo


def test_reads_pairs_in_order_with_rgb_and_pixels(tmp_path: Path) -> None:
    for folder in ("images/a", "labels/a"):
        (tmp_path / folder).mkdir(parents=True)
    red = np.zeros((50, 100, 3), np.uint8)
    red[..., 2] = 255
    for name in ("2.png", "1.png"):
        cv2.imwrite(str(tmp_path / "images" / "a" / name), red)
    # A bus (COCO 5), a clock (74, not served), a truck (7).
    (tmp_path / "labels" / "a" / "1.txt").write_text("5 0.5 0.5 0.2 0.4\n\n74 0.1 0.1 0.1 0.1\n7 0.25 0.5 0.5 1\n")
    labelled = read_yolo(tmp_path)
    first, none = labelled.images
    assert labelled.read(first)[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_allclose(first.xyxy, [[40, 15, 60, 35], [0, 0, 50, 50]])
    assert first.class_ids.tolist() == [4, 5]
    assert len(none) == 0
    assert [path.name for path in image_files(tmp_path)] == ["1.png", "2.png"]


def write_pair(folder: Path, name: str, text: str) -> None:
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((10, 10, 3), np.uint8))
    (folder / "labels" / f"{name}.txt").write_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.5", "row 1: expected 5 columns, got 4"),
        ("0 0.5 0.5 0.5 0.5\n0 0.5 x 0.5 0.5", "row 2: .*'x'"),
        ("0 50 50 20 20", "row 1: expected fractions"),
        ("0 nan 0.5 0.5 0.5", "row 1: expected fractions"),
    ],
)
def test_names_the_bad_row(tmp_path: Path, text: str, message: str) -> None:
    write_pair(tmp_path, "bad", text)
    with pytest.raises(InvalidInputError, match=message):
        read_yolo(tmp_path)


def test_all_faults_of_all_files_are_collected_and_the_rest_is_read(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "0 0.5 0.5 0.5\n0 0.5 0.5 0.2 0.4\n0 2 0.5 0.5 0.5")
    write_pair(tmp_path, "b", "0 0.5 0.5 0.2 0.4")
    write_pair(tmp_path, "c", "x 0.5 0.5 0.5 0.5")
    (tmp_path / "images" / "c.png").write_bytes(b"no image")
    write_pair(tmp_path, "d", "0 0.5 0.5 0.2 0.4")
    (tmp_path / "images" / "d.png").unlink()
    (tmp_path / "labels" / "b.txt").write_bytes(b"\xff\xfe")
    found: list[Fault] = []
    labelled = read_yolo(tmp_path, found.append)
    assert [(image.name, len(image)) for image in labelled] == [("images/a.png", 1), ("images/b.png", 0)]
    assert [(fault.name, fault.kind) for fault in found] == [
        ("images/a.png", "unreadable labels"),
        ("images/a.png", "unreadable labels"),
        ("images/b.png", "unreadable labels"),
        ("images/c.png", "unreadable"),
        ("images/c.png", "unreadable labels"),
    ]
    assert "row 1" in found[0].detail
    assert "row 3" in found[1].detail


def test_an_empty_folder_and_a_broken_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found none"):
        image_files(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match="not a readable image"):
        read_yolo(tmp_path)
