from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.detection.coco_json import read_coco
from pathcast.detection.corrections import corrected, known
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.tracking.mot_format import TRUTH_FILE, read_boxes
from pathcast.training.mot_labels import write_mot

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


def walking(*images: dict[str, int], camera: str = "") -> LabelledImages:
    """By image: the track numbers of the people at places A to C, e and f."""
    lefts = {name: 12 * place for place, name in enumerate("ABCef")}
    found = [
        LabelledImage(
            f"{camera}{number}.jpg",
            96,
            48,
            [[lefts[name], 5, lefts[name] + 10, 40] for name in tracks],
            [0] * len(tracks),
            track_ids=list(tracks.values()),
            camera=camera,
        )
        for number, tracks in enumerate(images)
    ]
    return LabelledImages(ROOT, tuple(found))


@pytest.mark.parametrize(
    ("before", "back", "expected"),
    [
        ([{"A": 1, "B": 2}] * 2, [{"A": 0, "B": 1, "C": 2}] * 2, [[1, 2, 3]] * 2),
        ([{"A": 1, "B": 2}, {"B": 2}], [{"A": 0, "B": 1}, {"B": 1, "e": 0}], [[1, 2], [2, 1]]),
        ([{"A": 4}, {"A": 4}, {"A": 7}, {}], [{"A": 0}, {"A": 0}, {"A": 0}, {"A": 0}], [[4], [4], [7], [4]]),
        ([{"A": 1}, {"B": 1}, {"B": 1}], [{"A": 0}, {"B": 3, "e": 0}, {"B": 3, "e": 0}], [[1], [1, 2], [1, 2]]),
        ([{"A": 1}, {}], [{"A": 5}, {"e": 5, "f": 5}], [[1], [1, 2]]),
        ([{"A": 1}, {"A": 9}], [{"A": 0, "e": -1, "f": -1}], [[1, -1, -1], [9]]),
        ([{"A": -1, "B": 1}, {"A": -1}], [{"A": 1, "B": 0}, {"A": 1}], [[2, 1], [2]]),
        ([{"A": 1}], [{}], [[]]),
        (
            [{"A": 3}, {"C": 3}, {}, {}],
            [{"A": 7}, {"C": 8}, {"A": 7, "C": 8}, {"C": 8, "A": 7}],
            [[3], [3], [3, 4], [4, 3]],
        ),
    ],
    ids=[
        "a third person",
        "a box of a given one",
        "most of its boxes",
        "taken in two images",
        "twice in one image",
        "no track",
        "none was given",
        "all removed",
        "one taken apart",
    ],
)
def test_new_boxes_are_numbered_by_their_track(
    before: list[dict[str, int]], back: list[dict[str, int]], expected: list[list[int]], tmp_path: Path
) -> None:
    merged, _ = corrected(walking(*before), walking(*back))
    assert [image.track_ids.tolist() for image in merged] == expected
    write_mot(tmp_path, merged)
    assert len(read_boxes(tmp_path / TRUTH_FILE, identified=True)) == sum(map(len, expected))


def test_tracks_of_two_cameras_are_of_two_people() -> None:
    sets = [walking({"A": 1}, {}, camera=camera) for camera in ("a", "b")]
    given = LabelledImages(ROOT, tuple(image.changed(track_ids=image.track_ids * 2) for each in sets for image in each))
    back = [walking({"B": 3}, {"A": 3}), walking({"A": 3}, {"A": 3})]
    returned = [
        image.changed(name=f"{camera}{image.name}") for camera, each in zip("ab", back, strict=True) for image in each
    ]
    merged, _ = corrected(given, LabelledImages(ROOT, tuple(returned)))
    assert [image.track_ids.tolist() for image in merged] == [[3], [3], [2], [2]]
