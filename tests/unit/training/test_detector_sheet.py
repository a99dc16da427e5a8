from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.training.detector_sheet import CELL, draw_sheet


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledImages:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    return LabelledImages(tmp_path, (LabelledImage("a.png", 64, 48, [[10, 10, 30, 40]], [0]),))


@pytest.mark.parametrize("vary", [False, True])
def test_a_sheet_has_a_cell_for_each_image(labelled: LabelledImages, tmp_path: Path, vary: bool) -> None:
    file = tmp_path / "new" / "sheet.png"
    draw_sheet([labelled], file, vary=vary, count=5)
    width, height = CELL
    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.shape == (2 * height, 3 * width, 3)
    cells = [picture[row * height :, column * width :][:height, :width] for row in (0, 1) for column in (0, 1, 2)]
    assert [bool(cell.any()) for cell in cells] == [True] * 5 + [False]


@pytest.mark.parametrize("name", ["sheet", "sheet.foo"])
def test_what_is_no_picture_is_told_by_name(labelled: LabelledImages, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: expected the name of a picture"):
        draw_sheet([labelled], tmp_path / name)


def test_without_an_image_there_is_no_sheet(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected images, got none"):
        draw_sheet([LabelledImages(tmp_path)], tmp_path / "sheet.png")
