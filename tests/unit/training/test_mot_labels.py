from __future__ import annotations

from pathlib import Path

import pytest

from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.tracking.mot_format import TRUTH_FILE, read_boxes
from pathcast.training.mot_labels import write_mot


@pytest.mark.parametrize(
    ("given", "written"),
    [([0, 1], [1, 2] * 6), ([1, 4], [1, 4] * 6), ([0, -1], [n for last in range(2, 8) for n in (1, last)])],
    ids=["from 0", "from 1", "one unknown"],
)
def test_an_object_has_one_number_in_all_frames(given: list[int], written: list[int], tmp_path: Path) -> None:
    boxes = [[10, 10, 40, 90], [70, 10, 100, 90]]
    images = [LabelledImage(f"{number}.jpg", 160, 120, boxes, [0, 0], track_ids=given) for number in range(6)]
    write_mot(tmp_path, LabelledImages(tmp_path, tuple(images)))
    assert read_boxes(tmp_path / TRUTH_FILE, identified=True).ids.tolist() == written


def test_a_car_that_is_numbered_0_moves_nobody(tmp_path: Path) -> None:
    image = LabelledImage("0.jpg", 160, 120, [[10, 10, 40, 90], [70, 10, 100, 90]], [0, 2], track_ids=[1, 0])
    assert write_mot(tmp_path, LabelledImages(tmp_path, (image,))) == {"car": 1}
    assert read_boxes(tmp_path / TRUTH_FILE, identified=True).ids.tolist() == [1]
