from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathcast.core.errors import InvalidInputError
from pathcast.detection.parity import check_parity, noise_frames
from pathcast.detection.ultralytics_import import is_ultralytics, read_ultralytics, to_served
from pathcast.registry.detector import convert_detector

CELLS = 12 * 8 + 6 * 4 + 3 * 2
COCO = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 4: "airplane", 5: "bus", 6: "train", 7: "truck"}


def export(path: Path, known: dict[int, str] = COCO, *, raw: np.ndarray | None = None, **facts: str) -> Path:
    """A file with the interface of Ultralytics' export that answers `raw` (4 + classes, cells) whatever it is given."""
    planes = 4 + len(known)
    values = np.zeros((planes, CELLS), np.float32) if raw is None else raw.astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing_4d"]),
        helper.make_node("Squeeze", ["nothing_4d", "last"], ["nothing"]),
        helper.make_node("Add", ["nothing", "values"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", planes, "anchors"])],
        [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array([3], np.int64), "last"),
            numpy_helper.from_array(values[None], "values"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"names": repr(known), "imgsz": "[64, 96]", "task": "detect", **facts})
    onnx.save(model, str(path))
    return path


def two_objects(classes: int) -> np.ndarray:
    """A bus at cell 7, and an aeroplane that scores more there."""
    raw = np.zeros((4 + classes, CELLS))
    raw[:4, 7] = [40, 30, 20, 10]
    raw[4 + 5, 7], raw[4 + 4, 7] = 0.6, 0.9
    raw[:4, 90] = [50, 32, 8, 16]
    raw[4, 90] = 0.8
    return raw


def test_the_served_graph_gives_the_platform_s_classes(tmp_path: Path) -> None:
    path = export(tmp_path / "v8.onnx", raw=two_objects(8))
    source = read_ultralytics(path)
    served = to_served(source, top_k=3)
    images = np.zeros((2, 64, 96, 3), np.uint8)
    session = pytest.importorskip("onnxruntime").InferenceSession(served.SerializeToString())
    boxes, scores, classes = session.run(["boxes", "scores", "classes"], {"images": images})
    assert boxes.shape == (2, 3, 4)
    np.testing.assert_allclose(scores[1, :2], [0.8, 0.6], atol=1e-6)
    assert classes[1, :2].tolist() == [0, 4]
    np.testing.assert_allclose(boxes[1, :2], [[46, 24, 54, 40], [30, 25, 50, 35]], atol=1e-5)
    parity = check_parity(source, served.SerializeToString(), noise_frames(2), "noise")
    parity.require()


def test_classes_go_by_their_names(tmp_path: Path) -> None:
    source = read_ultralytics(export(tmp_path / "own.onnx", {0: "forklift", 1: "truck", 2: "person"}))
    assert source.columns == (1, 2)
    assert source.class_ids == (5, 0)
    with pytest.raises(InvalidInputError, match=r"expected classes among person, .*, got \['forklift'\]"):
        read_ultralytics(export(tmp_path / "other.onnx", {0: "forklift"}))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"imgsz": "[64, 90]"}, "expected .* of an input divisible by 32"),
        ({"names": "{0: 'person'}"}, r"expected \[1, 5, cells\]"),
        ({"names": "os.remove('x')"}, "expected metadata names and imgsz"),
    ],
)
def test_other_exports_are_refused(facts: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_ultralytics(export(tmp_path / "other.onnx", **facts))


def test_an_import_tells_whose_file_it_is(tmp_path: Path) -> None:
    path = export(tmp_path / "v8.onnx", raw=two_objects(8))
    assert is_ultralytics(path)
    detector = convert_detector(path, tmp_path)
    assert "AGPL-3.0" in detector.card
    assert detector.input_size == (96, 64)
    assert detector.parity.max_box_difference_px < 1e-4


def test_a_file_is_not_cut_to_the_shape_of_frames(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="only a YOLOX can be cut"):
        convert_detector(export(tmp_path / "v8.onnx"), tmp_path, frame_size=(1920, 1080))
