from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.yolo_text import image_files, read_labelled, read_labels


def test_reads_pairs_in_order_with_rgb_and_pixels(tmp_path: Path) -> None:
    for folder in ("images/a", "labels/a"):
        (tmp_path / folder).mkdir(parents=True)
    red = np.zeros((50, 100, 3), np.uint8)
    red[..., 2] = 255
    for name in ("2.png", "1.png"):
        cv2.imwrite(str(tmp_path / "images" / "a" / name), red)
    # A bus (COCO 5), a clock (74, not served), a truck (7).
    (tmp_path / "labels" / "a" / "1.txt").write_text("5 0.5 0.5 0.2 0.4\n\n74 0.1 0.1 0.1 0.1\n7 0.25 0.5 0.5 1\n")
    (first, truth), (_, none) = read_labelled(tmp_path)
    assert first[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_allclose(truth.xyxy, [[40, 15, 60, 35], [0, 0, 50, 50]])
    assert truth.class_ids.tolist() == [4, 5]
    assert len(none.xyxy) == 0
    assert [path.name for path in image_files(tmp_path)] == ["1.png", "2.png"]


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
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        read_labels(tmp_path / "bad.txt", 10, 10)


def test_an_empty_folder_and_a_broken_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found none"):
        image_files(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match="not a readable image"):
        next(read_labelled(tmp_path))
