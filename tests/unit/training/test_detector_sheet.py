from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.training.detector_sheet import CELL, draw_sheet
from pathcast.training.recordings import write_jpeg


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledImages:
    images = []
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), 40 + 40 * number, np.uint8))
        images.append(LabelledImage(f"{number}.png", 64, 48, [[10, 10, 30, 40]], [0]))
    return LabelledImages(tmp_path, tuple(images))


@pytest.mark.parametrize("vary", [False, True])
def test_a_sheet_has_a_cell_for_each_image(labelled: LabelledImages, tmp_path: Path, vary: bool) -> None:
    file = tmp_path / "new" / "sheet.png"
    assert draw_sheet([labelled], file, vary=vary, count=5) == 5
    width, height = CELL
    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.shape == (2 * height, 3 * width, 3)
    cells = [picture[row * height :, column * width :][:height, :width] for row in (0, 1) for column in (0, 1, 2)]
    assert [bool(cell.any()) for cell in cells] == [True] * 5 + [False]


def test_each_image_is_drawn_once(labelled: LabelledImages, tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    assert draw_sheet([labelled], file, count=100) == 5
    picture = cv2.imread(str(file))
    assert picture is not None
    width, height = CELL
    centres = [int(picture[row * height + 20, column * width + 20, 0]) for row in (0, 1) for column in (0, 1, 2)]
    assert sorted(centres) == [0, 40, 80, 120, 160, 200]


def test_a_picture_that_cannot_be_written_is_told(labelled: LabelledImages, tmp_path: Path) -> None:
    for name in ("sheet.png", "image.jpg"):
        (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(PathcastError, match=r"sheet\.png: the image cannot be written: "):
        draw_sheet([labelled], tmp_path / "sheet.png")
    with pytest.raises(PathcastError, match=r"image\.jpg: the image cannot be written"):
        write_jpeg(tmp_path / "image.jpg", np.zeros((600, 800, 3), np.uint8))


@pytest.mark.parametrize("name", ["sheet", "sheet.foo"])
def test_what_is_no_picture_is_told_by_name(labelled: LabelledImages, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: expected the name of a picture"):
        draw_sheet([labelled], tmp_path / name)


def test_without_an_image_there_is_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected images, got none"):
        draw_sheet([LabelledImages(tmp_path)], tmp_path / "sheet.png")
