"""A classifier in a few ONNX nodes: it says the class whose number is the image's mean red level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_classifier(path: Path, classes: int = 43, side: int = 48) -> Path:
    """`images` UINT8 [N, side, side, 3] → `probabilities` FP32 [N, classes], nearly all on one class."""
    levels = np.arange(classes, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("Slice", ["colours", "zero", "one", "one"], ["red"]),
        helper.make_node("Sub", ["red", "levels"], ["distance"]),
        helper.make_node("Mul", ["distance", "distance"], ["square"]),
        helper.make_node("Mul", ["square", "sharpness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "levels": levels[None],
        "sharpness": np.array([-4.0], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "signs",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # The slice starts at 0, ends before 1, along axis 1.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def picture_of(label: int, side: int = 48) -> np.ndarray:
    """An RGB image that `write_classifier`'s file takes for the class."""
    image = np.full((side, side, 3), 200, np.uint8)
    image[..., 0] = label
    return image
