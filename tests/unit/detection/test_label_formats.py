from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathcast.core import InvalidInputError
from pathcast.detection.coco_json import read_coco, write_coco
from pathcast.detection.labelled import Fault, LabelledImage, LabelledImages
from pathcast.detection.motion_masks import boxes_of_mask, read_motion_masks
from pathcast.detection.quality import validate
from pathcast.detection.voc_xml import read_voc, write_voc
from pathcast.detection.yolo_text import read_yolo, write_yolo
from tests.support.pictures import VAST_PNG

START = datetime(2024, 1, 1, tzinfo=UTC)
REUSE = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> list[float]:
    x1 = draw(st.floats(0, width - 2, allow_nan=False, width=32))
    y1 = draw(st.floats(0, height - 2, allow_nan=False, width=32))
    x2 = draw(st.floats(x1 + 1, width, allow_nan=False))
    y2 = draw(st.floats(y1 + 1, height, allow_nan=False))
    return [x1, y1, x2, y2]


@st.composite
def labelled_images(draw: st.DrawFn, place: str = "images") -> LabelledImage:
    width, height = draw(st.integers(8, 64)), draw(st.integers(8, 64))
    rows = draw(st.lists(boxes(width, height), max_size=5))
    count = len(rows)
    scores = draw(st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), min_size=count, max_size=count))
    when = draw(st.one_of(st.none(), st.integers(0, 10**9).map(lambda us: START + timedelta(microseconds=us))))
    return LabelledImage(
        draw(st.sampled_from([f"{place}/a.png", f"{place}/deep/b.png", f"{place}/ü c.png"])),
        width,
        height,
        rows,
        draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)),
        ignored=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        track_ids=draw(st.lists(st.integers(-1, 99), min_size=count, max_size=count)),
        scores=scores,
        camera=draw(st.sampled_from(["", "gate-1"])),
        captured_at=when,
    )


def written(folder: Path, image: LabelledImage) -> LabelledImages:
    """The set of that one image, whose file is there."""
    path = folder / image.name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((image.height, image.width, 3), np.uint8))
    return LabelledImages(folder, (image,))


@REUSE
@given(image=labelled_images())
def test_coco_json_brings_everything_back(image: LabelledImage, tmp_path: Path) -> None:
    write_coco(tmp_path / "labels.json", LabelledImages(tmp_path, (image,)))
    (again,) = read_coco(tmp_path / "labels.json")
    np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-9)
    for name in ("class_ids", "ignored", "track_ids", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(image, name))
    for name in ("name", "width", "height", "camera", "captured_at"):
        assert getattr(again, name) == getattr(image, name)


@REUSE
@given(image=labelled_images())
def test_yolo_text_brings_boxes_and_classes_back(
    image: LabelledImage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    write_yolo(folder, written(folder, image))
    (again,) = read_yolo(folder)
    kept = ~image.ignored
    np.testing.assert_allclose(again.xyxy, image.xyxy[kept], atol=1e-6)
    np.testing.assert_array_equal(again.class_ids, image.class_ids[kept])
    assert (again.name, again.width, again.height) == (image.name, image.width, image.height)


@REUSE
@given(image=labelled_images("JPEGImages"))
def test_pascal_voc_brings_boxes_classes_and_doubts_back(
    image: LabelledImage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("voc")
    write_voc(folder, LabelledImages(folder, (image,)))
    (again,) = read_voc(folder)
    assert again.name == image.name
    np.testing.assert_allclose(again.xyxy, image.xyxy, atol=1e-6)
    np.testing.assert_array_equal(again.class_ids, image.class_ids)
    np.testing.assert_array_equal(again.ignored, image.ignored)


def test_pascal_voc_with_folders_is_read_back(tmp_path: Path) -> None:
    names = ["JPEGImages/day/a.png", "JPEGImages/night/a.png", "JPEGImages/b.png"]
    images = []
    for width, name in enumerate(names, start=8):
        image = LabelledImage(name, width, 8, [[0, 0, 4, 4]] * (width - 7), [0] * (width - 7))
        images += written(tmp_path, image).images
    write_voc(tmp_path, LabelledImages(tmp_path, tuple(images)))
    again = read_voc(tmp_path)
    assert {image.name: (image.width, len(image)) for image in again} == {
        name: (width, width - 7) for width, name in enumerate(names, start=8)
    }
    # Some tools leave the folder out of the name, as it is that of the labels.
    labels = tmp_path / "Annotations" / "day" / "a.xml"
    labels.write_text(labels.read_text().replace("day/a.png", "a.png"))
    assert {image.name for image in read_voc(tmp_path)} == set(names)


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_images_that_would_share_a_label_file_are_refused(write: Callable[..., object], tmp_path: Path) -> None:
    place = "JPEGImages" if write is write_voc else "images"
    images = tuple(LabelledImage(f"{place}/a.{kind}", 8, 8) for kind in ("png", "jpg"))
    with pytest.raises(InvalidInputError, match=r"a.jpg: expected a label file of its own"):
        write(tmp_path, LabelledImages(tmp_path, images))


def test_what_yolo_text_cannot_say_is_counted(tmp_path: Path) -> None:
    boxes = [[0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12]]
    image = LabelledImage("images/a.png", 8, 8, boxes, [0, 0, 0], ignored=[False, True, False])
    assert write_yolo(tmp_path, LabelledImages(tmp_path, (image,))) == {"ignored": 1, "outside the image": 1}


def test_every_file_of_pascal_voc_is_read_whatever_the_others_hold(tmp_path: Path) -> None:
    image = LabelledImage("JPEGImages/b.png", 8, 8, [[0, 0, 4, 4]] * 2, [0, 2])
    write_voc(tmp_path, written(tmp_path, image))
    good = tmp_path / "Annotations" / "b.xml"
    good.write_text(good.read_text().replace("<xmax>4</xmax>", "<xmax>wide</xmax>", 1))
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "c.xml").write_text("<annotation/>")
    (tmp_path / "Annotations" / "d.xml").write_text("<?xml version='1.0' encoding='utf-99'?><annotation/>")
    (tmp_path / "Annotations" / "e.xml").mkdir()
    (tmp_path / "Annotations" / "f.xml").write_text(f"<annotation><filename>{'a' * 5000}</filename></annotation>")
    found: list[Fault] = []
    (again,) = read_voc(tmp_path, found.append)
    assert again.class_ids.tolist() == [2]
    assert [(fault.name, fault.kind) for fault in found] == [
        ("Annotations/a.xml", "unreadable labels"),
        ("JPEGImages/b.png", "unreadable labels"),
        *((f"Annotations/{name}.xml", "unreadable labels") for name in "cdef"),
    ]
    assert "object 1" in found[1].detail


@pytest.mark.parametrize("place", ["train2017", "images", "images/train2017", ""])
def test_cocos_own_layout_is_read(place: str, tmp_path: Path) -> None:
    written(tmp_path / place, LabelledImage("a.jpg", 10, 10))
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(coco()))
    labelled = read_coco(path)
    assert labelled.read(labelled.images[0]).shape == (10, 10, 3)


def test_every_entry_of_coco_json_is_read_whatever_the_others_hold(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": size, "height": size}
        for number, size in ((1, 10), (2, None), (3, 0), (4, 10))
    ]
    boxes = [(1, 1, [0, 0, 4, 4]), (2, 1, [0, 0, 4]), (3, 4, "box"), (4, 9, [0, 0, 1, 1]), (5, 4, [1, 1, 2, 2])]
    annotations = [{"id": n, "image_id": image, "category_id": 7, "bbox": box} for n, image, box in boxes]
    (tmp_path / "labels.json").write_text(json.dumps(coco(images=images, annotations=annotations)))
    found: list[Fault] = []
    labelled = read_coco(tmp_path / "labels.json", fault=found.append)
    assert [(image.name, len(image)) for image in labelled] == [("1.jpg", 1), ("4.jpg", 1)]
    assert {fault.name for fault in found} == {"1.jpg", "2.jpg", "3.jpg", "4.jpg", "labels.json"}


SIZE = {"width": 10, "height": 10}
BOX = {"bbox": [0, 0, 4, 4]}


@pytest.mark.parametrize(
    ("size", "box", "detail"),
    [
        ({"width": float("inf"), "height": 10}, BOX, "infinity"),
        ({"width": 10, "height": float("nan")}, BOX, "NaN"),
        (SIZE, {"bbox": [0, 0, 10**400, 4]}, "annotation 1: bbox"),
        (SIZE, {**BOX, "attributes": {"track_id": float("inf")}}, "infinity"),
        (SIZE, {**BOX, "attributes": {"track_id": float("nan")}}, "NaN"),
        (SIZE, {**BOX, "attributes": {"track_id": 10**30}}, "too large"),
        (SIZE, {**BOX, "attributes": {"score": "high"}}, "high"),
        ({**SIZE, "captured_at": "noon"}, BOX, "noon"),
        ({**SIZE, "captured_at": 5}, BOX, "must be str"),
    ],
)
def test_a_value_that_is_no_such_number_or_time_is_a_fault_of_its_image(
    size: dict[str, object], box: dict[str, object], detail: str, tmp_path: Path
) -> None:
    images = [{"id": 1, "file_name": "a.jpg", **size}, {"id": 2, "file_name": "b.jpg", **SIZE}]
    annotations = [{"id": 1, "image_id": 1, "category_id": 7, **box}, {"id": 2, "image_id": 2, "category_id": 7, **BOX}]
    (tmp_path / "labels.json").write_text(json.dumps(coco(images=images, annotations=annotations)))
    found: list[Fault] = []
    labelled = read_coco(tmp_path / "labels.json", fault=found.append)
    assert [(fault.name, fault.kind) for fault in found] == [("a.jpg", "unreadable labels")]
    assert detail in found[0].detail
    assert [len(image) for image in labelled if image.name == "b.jpg"] == [1]


def test_a_name_that_is_too_long_for_a_file_is_that_of_an_unreadable_image(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": f"{'a' * 5000}.jpg", **SIZE}]
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "labels.json"
    path.write_text(json.dumps(coco(images=images)))
    assert [fault.kind for fault in validate(read_coco(path))] == ["unreadable"]


def test_an_image_with_a_category_that_has_no_name_is_named_and_other_classes_are_counted(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg", "width": 10, "height": 10} for number in (1, 2)]
    rows = [(1, 7), (1, 9), (1, 9), (2, 4), (2, 7)]
    annotations = [
        {"id": n, "image_id": image, "category_id": kind, "bbox": [0, 0, 4, 4]} for n, (image, kind) in enumerate(rows)
    ]
    (tmp_path / "labels.json").write_text(json.dumps(coco(images=images, annotations=annotations)))
    found: list[Fault] = []
    labelled = read_coco(tmp_path / "labels.json", fault=found.append)
    assert [(fault.name, fault.kind) for fault in found] == [("2.jpg", "unreadable labels")]
    assert "annotation 3: expected a category of labels.json, got 4" in found[0].detail
    assert labelled.boxes_by_class() == {"person": 2}
    assert labelled.about == {"other_classes": {"dog": 2}}


def test_images_of_one_id_are_faults(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": f"{name}.jpg", "width": 10, "height": 10} for name in "ab"]
    (tmp_path / "labels.json").write_text(json.dumps(coco(images=images)))
    found: list[Fault] = []
    read_coco(tmp_path / "labels.json", fault=found.append)
    assert [(fault.name, fault.kind) for fault in found] == [(f"{name}.jpg", "unreadable labels") for name in "ab"]
    assert "id of its own, 1 is that of b.jpg too" in found[0].detail


def test_what_is_known_of_labels_travels_with_them(tmp_path: Path) -> None:
    about = {"teacher": "detector 3", "labelling": {"sure": 0.4}}
    write_coco(tmp_path / "labels.json", LabelledImages(tmp_path, (LabelledImage("a.jpg", 10, 10),), about=about))
    assert read_coco(tmp_path / "labels.json").about == about


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>10</width><height>8</height><depth>3</depth></size>"
        "<object><name>motorbike</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>8</ymax></bndbox>"
        "</object><object><name>cat</name></object></annotation>"
    )
    labelled = read_voc(tmp_path)
    (image,) = labelled
    assert image.xyxy.tolist() == [[0, 0, 10, 8]]
    assert image.class_ids.tolist() == [3]
    assert labelled.about == {"other_classes": {"cat": 1}}


def coco(**changes: object) -> dict[str, object]:
    document: dict[str, object] = {
        "categories": [{"id": 7, "name": "person"}, {"id": 9, "name": "dog"}],
        "images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}],
    }
    return {**document, **changes}


def test_what_labelling_tools_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "attributes": {"track_id": "", "score": None}},
        {"id": 2, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]},
    ]
    path.write_text(json.dumps(coco(annotations=annotations)))
    (image,) = read_coco(path)
    assert image.xyxy.tolist() == [[1, 2, 4, 6]]
    assert image.class_ids.tolist() == [0]
    assert image.track_ids.tolist() == [-1]
    assert np.isnan(image.scores).all()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("no json", "not COCO JSON"),
        ("[]", "not COCO JSON"),
        ("[" * 100_000, "not COCO JSON"),
        (json.dumps(coco(info={"pathcast": [1]})), "not COCO JSON"),
        (json.dumps(coco(info={"pathcast": {"other_classes": "cat"}})), "other_classes: expected counts by name"),
        (json.dumps(coco(info={"pathcast": {"other_classes": {"cat": "2"}}})), "other_classes: expected counts"),
        (json.dumps({"categories": [], "images": []}), "'annotations' is missing"),
        (
            json.dumps(coco(annotations=[{"id": 5, "image_id": 2, "category_id": 7, "bbox": [0, 0, 1, 1]}])),
            "annotation 5",
        ),
        (
            json.dumps(coco(annotations=[{"id": 5, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}])),
            "annotation 5",
        ),
        (json.dumps(coco(annotations=[{"id": 5, "image_id": 1, "category_id": 7, "bbox": [0, 1]}])), "annotation 5"),
        (
            json.dumps(coco(images=[{"id": 1, "file_name": "a.jpg", "width": 0, "height": 10}])),
            "a.jpg: expected a size",
        ),
    ],
)
def test_other_json_is_refused_by_name(document: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(document)
    with pytest.raises(InvalidInputError, match=message):
        read_coco(tmp_path / "labels.json")


def test_nothing_said_of_other_classes_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(coco(info={"pathcast": {"other_classes": None}})))
    assert len(read_coco(tmp_path / "labels.json")) == 1


def test_a_file_that_is_not_there_is_not_called_bad_json(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"labels\.json: expected a file of COCO JSON: No such file"):
        read_coco(tmp_path / "labels.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [("<annotation>", "not Pascal VOC"), ("<annotation/>", "filename is missing")],
)
def test_other_xml_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        read_voc(tmp_path)


def test_moving_blobs_become_boxes_and_those_seen_in_part_are_ignored() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 20:40] = 255
    mask[40:60, 50:70] = 255  # at the lower border
    mask[5:8, 60:63] = 255  # a speck
    mask[32:50, 5:20] = 255
    mask[32:50, 20:24] = 85  # at the border of the region of interest
    mask[30:32, 20:40] = 170
    boxes, ignored = boxes_of_mask(mask)
    found = {tuple(box): doubt for box, doubt in zip(boxes, ignored, strict=True)}
    assert found == {
        (20, 10, 40, 30): False,
        (50, 40, 70, 60): True,
        (60, 5, 63, 8): True,
        (5, 32, 20, 50): True,
    }


def test_masks_are_read_with_their_images(tmp_path: Path) -> None:
    for name, value in (("groundtruth/gt000007.png", 255), ("input/in000007.jpg", 90)):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), np.pad(np.full((20, 20), value, np.uint8), 10))
    (image,) = read_motion_masks(tmp_path)
    assert image.name == "input/in000007.jpg"
    assert image.xyxy.tolist() == [[10, 10, 30, 30]]
    (tmp_path / "groundtruth" / "gt000008.png").write_bytes(VAST_PNG)
    with pytest.raises(InvalidInputError, match="gt000008.png: unreadable labels: expected a readable mask"):
        read_motion_masks(tmp_path)
    with pytest.raises(InvalidInputError, match="expected masks"):
        read_motion_masks(tmp_path / "input")
