from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.detection.gathered import gathered
from pathcast.detection.labelled import LabelledImage, LabelledImages


def written(root: Path, *names: str) -> LabelledImages:
    """A set of small images, each of a grey of its own, which its width says as well."""
    images = []
    for name in names:
        width = 8 + len(list(root.parent.parent.rglob("*.png")))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((8, width, 3), width, np.uint8))
        images.append(LabelledImage(name, width, 8))
    return LabelledImages(root, tuple(images))


def assert_own_pixels(sets: list[LabelledImages]) -> None:
    for labelled in sets:
        for image in labelled:
            assert int(labelled.read(image)[0, 0, 0]) == image.width


def names_of(sets: list[LabelledImages]) -> list[list[str]]:
    return [[image.name for image in labelled] for labelled in sets]


def test_sets_of_one_name_keep_their_own_pixels(tmp_path: Path) -> None:
    sets = [written(tmp_path / day / "gate", "images/0.png", "1.png") for day in ("monday", "tuesday")]
    found = gathered(sets, tmp_path / "all")
    assert names_of(found) == [
        ["images/gate/0.png", "images/gate/1.png"],
        ["images/gate-2/0.png", "images/gate-2/1.png"],
    ]
    assert_own_pixels(found)


def test_two_label_files_of_one_folder_share_its_images(tmp_path: Path) -> None:
    labelled = written(tmp_path / "a" / "gate", "0.png")
    assert names_of(gathered([labelled, labelled], tmp_path / "all")) == [["images/gate/0.png"]] * 2


def test_what_lies_there_stays_and_nothing_is_laid_over_it(tmp_path: Path) -> None:
    there = written(tmp_path / "all" / "images", "gate/0.png")
    found = gathered([written(tmp_path / "x" / "gate", "0.png"), there], tmp_path / "all")
    assert names_of(found) == [["images/gate-2/0.png"], ["images/gate/0.png"]]
    assert_own_pixels(found)


def test_names_that_lead_out_of_the_set_stay_in_the_folder(tmp_path: Path) -> None:
    labelled = written(tmp_path / "a" / "gate", "../0.png", "0.png", "images/0.png")
    found = gathered([labelled], tmp_path / "all", own_folders=False)
    assert names_of(found) == [["images/0.png", "images/0-2.png", "images/0-3.png"]]
    assert_own_pixels(found)


@pytest.mark.parametrize("place", ["images", "JPEGImages"])
def test_one_set_needs_no_folder_of_its_own(place: str, tmp_path: Path) -> None:
    found = gathered([written(tmp_path / "a" / "gate", "img1/7.png")], tmp_path / "all", place, own_folders=False)
    assert names_of(found) == [[f"{place}/7.png"]]
