import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, save
from support.bright import bright_square, write_bright_detector
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.serving.mp4 import Mp4Writer
from pathcast.tracking.mot_format import SequenceInfo, write_sequence_info


def identity(path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", values[:1], values[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def evaluate(*arguments: object) -> str:
    """What the command says, on both of its outputs."""
    return CliRunner().invoke(app, ["evaluate", "detector", *map(str, arguments)], catch_exceptions=False).output


def named_sequence(folder: Path, names: str, *numbers: int) -> Path:
    """A sequence of one frame and a video of it, with `names` in labels.txt and a box of each of the `numbers`."""
    (folder / "gt").mkdir(parents=True)
    write_sequence_info(folder, SequenceInfo("clip", 7, 1, 96, 96))
    (folder / "gt" / "labels.txt").write_text(names)
    rows = [f"1,{n},16,16,16,16,1,{number},1\n" for n, number in enumerate(numbers, start=1)]
    (folder / "gt" / "gt.txt").write_text("".join(rows))
    with Mp4Writer(folder / "clip.mp4", 7) as writer:
        writer.write(bright_square(96, 16, 16, 16))
    return folder


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected COCO JSON, YOLO text, .*found none"):
        evaluate("--data", tmp_path, "--model", identity(tmp_path / "model.onnx"))


def test_of_several_sets_one_must_be_named(tmp_path: Path) -> None:
    for name in ("train.json", "val.json"):
        (tmp_path / name).write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InvalidInputError, match="expected one set of labels, .*found 2"):
        evaluate("--data", tmp_path, "--model", identity(tmp_path / "model.onnx"))


def test_a_sequence_without_its_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip" / "gt").mkdir(parents=True)
    (tmp_path / "clip" / "seqinfo.ini").write_text(
        "[Sequence]\nname=clip\nframeRate=7\nseqLength=2\nimWidth=64\nimHeight=48\n"
    )
    (tmp_path / "clip" / "gt" / "gt.txt").write_text("1,1,0,0,9,9,1,-1,-1,-1\n")
    with pytest.raises(InvalidInputError, match="expected a video of the sequence"):
        evaluate("--data", tmp_path, "--model", identity(tmp_path / "model.onnx"))


def test_a_video_that_ends_before_its_sequence_is_told(tmp_path: Path) -> None:
    write_sequence_info(tmp_path, SequenceInfo("clip", 7, 3, 64, 48))
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text("1,1,0,0,9,9,1,-1,-1,-1\n")
    with Mp4Writer(tmp_path / "clip.mp4", 7) as writer:
        for _ in range(2):
            writer.write(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(InvalidInputError, match="expected 3 frames, it ends before frame 3"):
        evaluate("--data", tmp_path, "--model", write_bright_detector(tmp_path / "model.onnx"))


def test_boxes_of_a_sequence_that_are_of_other_classes_are_told(tmp_path: Path) -> None:
    model = write_bright_detector(tmp_path / "model.onnx")
    folder = named_sequence(tmp_path / "clip", "person\npedestrian\nhelmet\n", 1, 2, 3, 2)
    said = evaluate("--data", folder, "--model", model, "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["boxes_left_out"] == {"pedestrian": 2, "helmet": 1}
    others = "3 boxes of classes that the detector does not have: 2 pedestrian, 1 helmet"
    assert f"{folder}: {others}\n" in said
    said = evaluate("--data", folder, "--model", model, "--classes", '{"pedestrian": "person"}')
    assert f"{folder}: 1 boxes of classes that the detector does not have: 1 helmet\n" in said
    (folder / "gt" / "gt.txt").write_text("1,1,16,16,16,16,1,3,1\n")
    with pytest.raises(InvalidInputError, match=r"clip: expected boxes of person, .*, got 1 boxes .*: 1 helmet"):
        evaluate("--data", folder, "--model", model)


@pytest.mark.parametrize("broken", [True, False])
def test_a_model_of_another_signature_is_refused(tmp_path: Path, broken: bool) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    model = identity(tmp_path / "model.onnx")
    if broken:
        model.write_bytes(b"no model")
    with pytest.raises(InvalidInputError, match="not a model" if broken else "expected inputs images and outputs"):
        evaluate("--data", tmp_path, "--model", model)


def test_data_is_required() -> None:
    assert CliRunner().invoke(app, ["evaluate", "detector"]).exit_code == 2


def test_a_file_has_no_served_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--name and --model: expected one of the two"):
        evaluate("--data", tmp_path, "--model", tmp_path / "model.onnx", "--name", "detector_2")
