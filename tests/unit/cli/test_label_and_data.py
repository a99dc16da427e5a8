from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.detection.coco_json import read_coco
from pathcast.training.recordings import read_recordings

RUNNER = CliRunner()


def run(*arguments: object, code: int = 0) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that finds the same person and, less surely, the same car on every image."""
    constants = {
        "boxes": np.array([[[8, 8, 24, 56], [30, 20, 60, 40]]], np.float32),
        "scores": np.array([[0.9, 0.2]], np.float32),
        "classes": np.array([[0, 2]], np.int64),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in constants.items()
    ]
    nodes.append(helper.make_node("Identity", ["images"], ["unused"]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 64, 96, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, [1, 2]),
        ],
    )
    path = tmp_path_factory.mktemp("teacher") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


@pytest.fixture(scope="module")
def labels(teacher: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("labels")
    arguments = (
        "--teacher",
        teacher,
        "--output",
        output,
        "--every",
        2,
        "--camera",
        "gate",
        "--json",
        output / "n.json",
    )
    run("label", pictures, *arguments)
    return output


def test_a_teacher_labels_a_folder(labels: Path, pictures: Path) -> None:
    assert (
        json.loads((labels / "n.json").read_text()).items()
        >= {
            "images": 4,
            "boxes": {"person": 4},
            "ignored_boxes": 4,
        }.items()
    )
    found = read_coco(labels / "labels.json")
    assert [image.name for image in found] == [f"images/{number}.jpg" for number in (0, 2, 4, 6)]
    assert {image.camera for image in found} == {"gate"}
    assert found.images[1].xyxy.tolist() == [[8, 8, 24, 56], [30, 20, 60, 40]]
    assert found.images[1].ignored.tolist() == [False, True]
    assert found.read(found.images[0]).shape == (64, 96, 3)
    assert found.about == {
        "teacher": "model.onnx",
        "labelling": {"sure": 0.4, "unsure": 0.1, "frames": 3, "every": 2},
    }


def test_labels_that_are_there_are_not_written_over(labels: Path, teacher: Path, pictures: Path) -> None:
    before = (labels / "labels.json").read_bytes()
    with pytest.raises(InvalidInputError, match=r"labels.json: expected no labels here yet"):
        run("label", pictures, "--teacher", teacher, "--output", labels)
    assert (labels / "labels.json").read_bytes() == before


def test_images_that_would_share_a_file_are_refused_before_anything_is_labelled(
    teacher: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "pictures")
    shutil.copy(pictures / "6.png", tmp_path / "pictures" / "6.bmp")
    with pytest.raises(InvalidInputError, match=r"6.png: expected an image file of its own, 6.jpg is that of .*6.bmp"):
        run("label", tmp_path / "pictures", "--teacher", teacher, "--output", tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_the_shipped_detector_labels_wherever_the_command_is_run(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "7 images" in run("label", pictures, "--every", 1)
    assert read_coco(tmp_path / "labels" / "labels.json").about["teacher"] == "detector 1"


def test_images_of_a_run_that_was_cut_short_are_not_mixed_in(teacher: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    run("label", pictures, "--teacher", teacher, "--output", tmp_path)
    (tmp_path / "labels.json").unlink()
    with pytest.raises(InvalidInputError, match=r"images: expected no images here yet"):
        run("label", pictures, "--teacher", teacher, "--output", tmp_path)
    assert not (tmp_path / "labels.json").exists()


def test_where_from_must_be_clear(teacher: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected a SOURCE, or --camera"):
        run("label", "--teacher", teacher)


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "mot"])
def test_labels_are_converted_and_read_again(kind: str, labels: Path, tmp_path: Path) -> None:
    run("data", "convert", labels / "labels.json", "--to", kind, "--output", tmp_path / kind)
    source = tmp_path / kind / "labels.json" if kind == "coco" else tmp_path / kind
    (again,) = read_recordings(source, tmp_path / "work")
    assert again.boxes_by_class() == {"person": 4}
    for image in again:
        np.testing.assert_allclose(image.xyxy[~image.ignored], [[8, 8, 24, 56]], atol=1e-6)
        assert again.read(image).shape == (64, 96, 3)


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "mot"])
def test_a_missing_image_is_named_before_anything_is_written(kind: str, labels: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(labels, tmp_path / "labels")
    gone = sorted((mine / "images").iterdir())[-1]
    gone.unlink()
    with pytest.raises(InvalidInputError, match=f"{gone.name}: labelled, and no such image"):
        run("data", "convert", mine / "labels.json", "--to", kind, "--output", tmp_path / kind)
    assert not (tmp_path / kind).exists()


@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "mot"])
def test_several_sets_are_all_converted_and_keep_their_pixels(kind: str, labels: Path, tmp_path: Path) -> None:
    for day, grey in (("monday", 40), ("tuesday", 200)):
        shutil.copytree(labels, tmp_path / "raw" / day / "gate")
        for path in (tmp_path / "raw" / day / "gate" / "images").iterdir():
            cv2.imwrite(str(path), np.full((64, 96, 3), grey, np.uint8))
    said = run("data", "convert", tmp_path / "raw", "--to", kind, "--output", tmp_path / kind)
    assert "8 images" in said
    left_out = {"yolo": "left out, since yolo cannot say them: 8 ignored", "mot": "8 car"}
    assert left_out.get(kind, "images") in said
    sets = read_recordings(tmp_path / kind, tmp_path / "work")
    greys = [int(labelled.read(image).mean()) for labelled in sets for image in labelled]
    assert greys == pytest.approx([40] * 4 + [200] * 4, abs=3)
    if kind == "coco":
        assert [each["teacher"] for each in sets[0].about["sets"]] == ["model.onnx"] * 2
    assert sum(labelled.boxes_by_class()["person"] for labelled in sets) == 8


def test_a_check_goes_on_after_labels_that_cannot_be_read(labels: Path, tmp_path: Path) -> None:
    run("data", "convert", labels / "labels.json", "--to", "yolo", "--output", tmp_path / "raw" / "a")
    run("data", "convert", labels / "labels.json", "--to", "voc", "--output", tmp_path / "raw" / "b")
    (tmp_path / "raw" / "a" / "labels" / "0.txt").write_text("0 0.5\n0 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.2 0.4\nx")
    (tmp_path / "raw" / "a" / "labels" / "4.txt").write_text("0 9 9 9 9")
    (tmp_path / "raw" / "b" / "Annotations" / "2.xml").write_text("no XML")
    (tmp_path / "raw" / "c.json").write_text('{"annotations": 1}')
    (tmp_path / "raw" / "b" / "JPEGImages" / "6.jpg").write_bytes(b"no image")
    run("data", "check", tmp_path / "raw", "--json", tmp_path / "faults.json", code=1)
    faults = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert [(fault["name"].removeprefix(f"{tmp_path}/"), fault["kind"]) for fault in faults] == [
        ("images/0.jpg", "unreadable labels"),
        ("images/0.jpg", "unreadable labels"),
        ("images/4.jpg", "unreadable labels"),
        ("images/0.jpg", "duplicate box"),
        ("Annotations/2.xml", "unreadable labels"),
        ("JPEGImages/6.jpg", "unreadable"),
        ("raw/c.json", "unreadable set"),
    ]


def test_faults_are_listed_and_end_with_1(labels: Path, tmp_path: Path) -> None:
    assert "0 faults" in run("data", "check", labels / "labels.json")
    document = json.loads((labels / "labels.json").read_text())
    document["annotations"][0]["bbox"] = [90, 60, 20, 20]
    document["annotations"][2]["bbox"] = [5, 5, 0, 3]
    broken = labels / "broken.json"
    broken.write_text(json.dumps(document))
    output = run("data", "check", broken, "--json", tmp_path / "faults.json", code=1)
    assert "images/0.jpg: box reaches over the image" in output
    assert "images/2.jpg: empty box" in output
    assert len(json.loads((tmp_path / "faults.json").read_text())["faults"]) == 2


def test_what_people_corrected_is_taken_back(labels: Path, tmp_path: Path) -> None:
    document = json.loads((labels / "labels.json").read_text())
    document["images"] = document["images"][:1]
    document["images"][0]["file_name"] = "0.jpg"
    document["categories"].append({"id": 9, "name": "pedestrian"})
    document["annotations"] = [
        {"id": kind, "image_id": 1, "category_id": kind, "bbox": [10, 10, 16, 46]} for kind in (1, 9)
    ]
    (tmp_path / "back.json").write_text(json.dumps(document))
    target = tmp_path / "labels.json"
    said = run("data", "correct", labels / "labels.json", "--by", tmp_path / "back.json", "--output", target)
    assert "left out, 1 boxes of classes that the detector does not have: 1 pedestrian" in " ".join(said.split())
    first, second = read_coco(target, labels).images[:2]
    assert first.xyxy.tolist() == [[10, 10, 26, 56]]
    assert second.xyxy.tolist() == [[8, 8, 24, 56], [30, 20, 60, 40]]


@pytest.mark.parametrize(("flags", "shown"), [([], 4), (["--augmented"], 5)])
def test_a_sheet_shows_the_images(flags: list[str], shown: int, labels: Path, tmp_path: Path) -> None:
    said = run("data", "sheet", labels / "labels.json", "--count", 5, "--output", tmp_path / "sheet.png", *flags)
    assert f"sheet.png:{shown}images" in "".join(said.split())
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    columns = 3 if shown > 4 else 2
    assert picture.shape == (2 * 320, columns * 416, 3)
    assert (picture[320:, (columns - 1) * 416 :] == 0).all() == (shown < 2 * columns)
    assert picture[:320].std() > 10


def test_a_detector_is_scored_on_coco_json_by_camera(labels: Path, teacher: Path, tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    data = ("--data", labels / "labels.json", "--model", teacher, "--json", target)
    run("evaluate", "detector", *data, "--camera", "gate", "--plots", tmp_path / "plots")
    for name in ("precision_recall.png", "confusion.png"):
        assert cv2.imread(str(tmp_path / "plots" / name)).std() > 1
    scores = json.loads(target.read_text())
    # The folder that `pathcast label` wrote has images/ as YOLO's text has.
    shutil.copytree(labels / "images", tmp_path / "own" / "images")
    shutil.copy(labels / "labels.json", tmp_path / "own")
    run("evaluate", "detector", "--data", tmp_path / "own", "--model", teacher, "--json", target)
    assert json.loads(target.read_text())["classes"] == scores["classes"]
    assert scores["images"] == 4
    assert scores["classes"] == {"person": {"ap50": pytest.approx(1.0), "ap50_95": pytest.approx(1.0)}}
    with pytest.raises(InvalidInputError, match=r"labels.json: expected images of camera other, got those of gate"):
        run("evaluate", "detector", *data, "--camera", "other")
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({**json.loads((labels / "labels.json").read_text()), "images": [], "annotations": []}))
    with pytest.raises(InvalidInputError, match="at least one box that counts"):
        run("evaluate", "detector", "--data", empty, "--model", teacher)


@pytest.fixture(scope="module")
def pedestrians(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same labels, with names that the platform does not have."""
    path = shutil.copytree(labels, tmp_path_factory.mktemp("walkway") / "set") / "labels.json"
    document = json.loads(path.read_text())
    names = {"person": "Pedestrian", "car": "van"}
    for category in document["categories"]:
        category["name"] = names.get(category["name"], category["name"])
    path.write_text(json.dumps(document))
    return path


CLASSES = ("--classes", '{"pedestrian": "person", "van": "car"}')


def test_a_check_knows_the_classes_that_it_is_told(pedestrians: Path) -> None:
    said = run("data", "check", pedestrians, code=1)
    assert "expected boxes of person, bicycle, car, motorcycle, bus, truck, got 8 boxes" in said
    assert 'next step: --classes \'{"pedestrian": "person"}\'' in said
    assert "4 images, 0 faults" in run("data", "check", pedestrians, *CLASSES)


def test_a_conversion_knows_the_classes_that_it_is_told(pedestrians: Path, tmp_path: Path) -> None:
    command = ("data", "convert", pedestrians, "--to", "voc", "--output", tmp_path / "voc")
    with pytest.raises(InvalidInputError, match="labels.json: expected boxes of .*: 4 Pedestrian, 4 van"):
        run(*command)
    run(*command, *CLASSES)
    (again,) = read_recordings(tmp_path / "voc", tmp_path / "work")
    assert again.boxes_by_class() == {"person": 4}


def test_a_sheet_knows_the_classes_that_it_is_told(pedestrians: Path, labels: Path, tmp_path: Path) -> None:
    run("data", "sheet", pedestrians, "--output", tmp_path / "told.png", *CLASSES)
    run("data", "sheet", labels / "labels.json", "--output", tmp_path / "named.png")
    assert (tmp_path / "told.png").read_bytes() == (tmp_path / "named.png").read_bytes()


def test_a_score_knows_the_classes_that_it_is_told(pedestrians: Path, teacher: Path, tmp_path: Path) -> None:
    command = ("evaluate", "detector", "--data", pedestrians, "--model", teacher, "--json", tmp_path / "n.json")
    run(*command, *CLASSES)
    scores = json.loads((tmp_path / "n.json").read_text())
    assert scores["classes"]["person"]["ap50"] == pytest.approx(1.0)
    assert scores["boxes_left_out"] == {}
    run(*command, "--classes", '{"pedestrian": "person"}')
    assert json.loads((tmp_path / "n.json").read_text())["boxes_left_out"] == {"van": 4}
    run(*command, "--classes", '{"pedestrian": "person"}', "--camera", "gate")
    assert json.loads((tmp_path / "n.json").read_text())["boxes_left_out"] is None


def test_classes_that_are_no_json_are_refused(pedestrians: Path) -> None:
    with pytest.raises(InvalidInputError, match="classes: expected names by name, got 'pedestrian=person'") as caught:
        run("data", "check", pedestrians, "--classes", "pedestrian=person")
    assert "give JSON, in quotes" in str(caught.value.hint)
