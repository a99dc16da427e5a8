from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.detection.coco_json import read_coco
from pathcast.detection.corrections import corrected, known
from pathcast.detection.labelled import LabelledImage, LabelledImages

ROOT = Path("set")


def given() -> LabelledImages:
    boxes = [[10, 10, 20, 30], [30, 10, 40, 30], [50, 10, 60, 30]]
    first = LabelledImage("images/a.jpg", 64, 48, boxes, [0, 0, 2], track_ids=[4, 5, 6], scores=[0.9, 0.8, 0.5])
    return LabelledImages(ROOT, (first, LabelledImage("images/b.jpg", 64, 48, [[1, 1, 9, 9]], [0], scores=[0.7])))


def returned(name: str = "images/a.jpg", width: int = 64) -> LabelledImages:
    boxes = [[10.3, 10, 20, 30], [32, 10, 43, 30], [2, 30, 12, 45]]
    return LabelledImages(ROOT, (LabelledImage(name, width, 48, boxes, [0, 0, 1]),))


@pytest.mark.parametrize("name", ["images/a.jpg", "a.jpg", "task_1/a.jpg", "images/0a1b2c3d-a.jpg", "9f9f9f9f__a.jpg"])
def test_people_have_the_last_word_and_objects_keep_their_numbers(name: str) -> None:
    merged, counts = corrected(given(), returned(name))
    assert counts == {"images": 1, "kept": 1, "changed": 1, "added": 1, "removed": 1}
    first, second = merged
    assert first.name == "images/a.jpg"
    assert first.xyxy.tolist() == returned().images[0].xyxy.tolist()
    assert first.track_ids.tolist() == [4, 5, -1]
    assert np.isnan(first.scores).all()
    assert second.scores.tolist() == [0.7]


def test_returning_what_was_given_changes_nothing_but_the_scores() -> None:
    merged, counts = corrected(given(), given())
    assert counts == {"images": 2, "kept": 4, "changed": 0, "added": 0, "removed": 0}
    for one, two in zip(merged, given(), strict=True):
        np.testing.assert_array_equal(one.xyxy, two.xyxy)
        np.testing.assert_array_equal(one.track_ids, two.track_ids)


@pytest.mark.parametrize(
    ("back", "message"),
    [
        (returned("c.jpg"), "got 0 of them"),
        (returned(width=32), "expected 64x48 as given, got 32x48"),
        (LabelledImages(ROOT, returned().images * 2), "once"),
    ],
)
def test_what_was_not_given_is_refused(back: LabelledImages, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        corrected(given(), back)


# The same two boxes on a.jpg, as each tool writes them down.
CVAT = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "", "year": ""},
    "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in ((1, "car"), (2, "person"))],
    "images": [
        {
            "id": 1,
            "width": 64,
            "height": 48,
            "file_name": "images/a.jpg",
            "license": 0,
            "flickr_url": "",
            "coco_url": "",
            "date_captured": 0,
        }
    ],
    "annotations": [
        {
            "id": number,
            "image_id": 1,
            "category_id": category,
            "segmentation": [],
            "area": box[2] * box[3],
            "bbox": box,
            "iscrowd": 0,
            "attributes": {"occluded": False, "rotation": 0.0},
        }
        for number, category, box in ((1, 2, [10.0, 10.0, 10.0, 20.0]), (2, 1, [50.0, 10.0, 10.0, 20.0]))
    ],
}
LABEL_STUDIO = {
    "images": [{"width": 64, "height": 48, "id": 0, "file_name": "images/0a1b2c3d-a.jpg"}],
    "categories": [{"id": 0, "name": "car"}, {"id": 1, "name": "person"}],
    "annotations": [
        {
            "id": number,
            "image_id": 0,
            "category_id": category,
            "segmentation": [],
            "bbox": box,
            "ignore": 0,
            "iscrowd": 0,
            "area": box[2] * box[3],
        }
        for number, category, box in ((0, 1, [10.0, 10.0, 10.0, 20.0]), (1, 0, [50.0, 10.0, 10.0, 20.0]))
    ],
    "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio", "url": ""},
}


@pytest.mark.parametrize("document", [CVAT, LABEL_STUDIO], ids=["CVAT", "Label Studio"])
def test_each_tool_s_own_coco_is_read_back(document: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "back.json").write_text(json.dumps(document))
    merged, counts = corrected(given(), read_coco(tmp_path / "back.json"))
    assert counts == {"images": 1, "kept": 2, "changed": 0, "added": 0, "removed": 1}
    assert merged.images[0].class_ids.tolist() == [0, 2]
    assert merged.images[0].track_ids.tolist() == [4, 6]


def test_an_image_that_label_studio_could_not_open_is_named(tmp_path: Path) -> None:
    image = {"id": 0, "width": None, "height": None, "file_name": "/data/local-files/?d=a.jpg"}
    (tmp_path / "back.json").write_text(json.dumps({**LABEL_STUDIO, "images": [image], "annotations": []}))
    with pytest.raises(InvalidInputError, match=r"d=a\.jpg: .*expected a width and a height, got None and None"):
        read_coco(tmp_path / "back.json")


def test_images_of_another_set_can_be_left_out() -> None:
    both = LabelledImages(ROOT, (*returned("a.jpg").images, *returned("other.jpg").images))
    assert [image.name for image in known(given(), both)] == ["a.jpg"]
