from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import Fault, LabelledImage, LabelledImages
from pathcast.detection.yolo_names import ASSUMED
from pathcast.detection.yolo_text import image_files, read_yolo, write_yolo
from tests.support.pictures import VAST_PNG


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
    assert labelled.about == {"class_names": ASSUMED, "other_classes": {"COCO's 74": 1}}


def test_a_byte_order_mark_is_no_part_of_the_first_number(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "\ufeff5 0.5 0.5 0.2 0.4\n")
    assert read_yolo(tmp_path).boxes_by_class() == {"bus": 1}


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
        ("80 0.5 0.5 0.5 0.5", r"row 1: expected the number of a class \(COCO's 80, assumed, .*\), got 80"),
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
    (tmp_path / "images" / "c.png").write_bytes(VAST_PNG)
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


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("yard/data.yaml", "nc: 3\nnames: [Car, helmet, person ]\n"),
        ("yard/dataset.yaml", "names:\n  2: person\n  0: car\n  1: helmet\n"),
        ("data.yaml", "train: yard/images\nnames: [car, helmet, person]\n"),
        ("yard/labels/classes.txt", "car\nhelmet\nperson\n"),
        ("yard/classes.txt", "car\r\nhelmet\r\nperson\r\n\r\n"),
        ("yard/obj.names", "car\nhelmet\nperson\n"),
        ("yard/workers.yaml", "nc: 3\nnames: [car, helmet, person]\n"),
        ("workers.yml", "train: yard/images\nnames:\n  0: car\n  1: helmet\n  2: person\n"),
        ("yard/workers.names", "car\nhelmet\nperson\n"),
        ("yard.names", "\ufeffcar\nhelmet\nperson\n"),
        ("yard.yaml", "\ufeffnames: [car, helmet, person]\n"),
    ],
)
def test_class_numbers_are_those_of_the_sets_own_names(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "yard").mkdir()
    rows = [f"{kind} 0.5 0.5 0.2 0.4\n" for kind in (0, 1, 2)]
    write_pair(tmp_path / "yard", "a", "".join(rows))
    write_pair(tmp_path / "yard", "b", f"{rows[2]}3 0.5 0.5 0.2 0.4")
    (tmp_path / file).write_text(text)
    # Of the same folder, and no names of classes.
    (tmp_path / file).with_name("training.yaml").write_text("lr0: 0.01\noptions:\n  names: no\n")
    found: list[Fault] = []
    labelled = read_yolo(tmp_path / "yard", found.append)
    assert [image.class_ids.tolist() for image in labelled] == [[2, 0], [0]]
    name = Path(file).name
    assert labelled.about == {"class_names": name, "other_classes": {"helmet": 1}}
    assert [(fault.name, fault.kind) for fault in found] == [("images/b.png", "unreadable labels")]
    assert f"row 2: expected the number of a class ({name}), got 3" in found[0].detail


def test_names_in_the_folder_around_are_those_of_the_set(tmp_path: Path) -> None:
    (tmp_path / "yard").mkdir()
    write_pair(tmp_path / "yard", "a", "1 0.5 0.5 0.2 0.4")
    (tmp_path / "animals.yaml").write_text("path: animals\nnames: [cat, person]\n")
    (tmp_path / "folder.yaml").mkdir()
    assert read_yolo(tmp_path / "yard").boxes_by_class() == {"bicycle": 1}  # COCO's 1
    (tmp_path / "yard.yaml").write_text("names: [person, car]\n")
    (tmp_path / "all.yaml").write_text("train: [yard, animals]\nnames: [cat, person]\n")
    assert read_yolo(tmp_path / "yard").boxes_by_class() == {"car": 1}


def test_of_several_files_of_names_none_is_guessed(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "0 0.5 0.5 0.2 0.4")
    for name in ("animals.yaml", "workers.yaml"):
        (tmp_path / name).write_text("names: [person]\n")
    with pytest.raises(InvalidInputError, match="one file with class names, got animals.yaml, workers.yaml") as caught:
        read_yolo(tmp_path)
    assert f"copy the right one to {tmp_path / 'data.yaml'}" in str(caught.value.hint)
    (tmp_path / "data.yaml").write_text("names: [car]\n")
    assert read_yolo(tmp_path).boxes_by_class() == {"car": 1}


@pytest.mark.parametrize("text", ["nc: 2\n", "names: person\n", "names: {person: 0}\n", "a: [", "- person\n", ""])
def test_a_file_of_names_without_any_is_refused(tmp_path: Path, text: str) -> None:
    write_pair(tmp_path, "a", "0 0.5 0.5 0.2 0.4")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InvalidInputError, match=r"data.yaml: (names: expected a list of class names|not readable)"):
        read_yolo(tmp_path)


def test_names_are_read_as_data_not_run(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "0 0.5 0.5 0.2 0.4")
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InvalidInputError, match="could not determine a constructor"):
        read_yolo(tmp_path)


def test_written_labels_name_their_classes(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "")
    image = LabelledImage("images/a.png", 10, 10, [[0, 0, 4, 4]] * 2, [4, 5])
    write_yolo(tmp_path, LabelledImages(tmp_path, (image,)))
    names = yaml.safe_load((tmp_path / "data.yaml").read_text())["names"]
    rows = (tmp_path / "labels" / "a.txt").read_text().splitlines()
    assert [names[int(row.split()[0])] for row in rows] == ["bus", "truck"]


def test_images_that_share_a_label_file_are_faults(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", "0 0.5 0.5 0.2 0.4")
    for name in ("a.jpg", "b.jpg", "b.png"):
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((10, 10, 3), np.uint8))
    found: list[Fault] = []
    read_yolo(tmp_path, found.append)
    # Without a label file both show nothing, whichever it would have been.
    assert [fault.name for fault in found] == ["images/a.jpg", "images/a.png"]
    assert "a.txt: that of 2 images" in found[0].detail
