"""A detector that needs no learning, and pictures for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

CELLS, CELL_PX = 6, 16


def bright_square(side: int, left: int, top: int, size: int) -> np.ndarray:
    """A dark picture (side, side, 3) with a bright square in it."""
    image = np.full((side, side, 3), 10, np.uint8)
    image[top : top + size, left : left + size] = 250
    return image


def write_bright_detector(path: Path, looks: Sequence[int] = ()) -> Path:
    """A detector of the served signature without learning: bright cells of a 6 x 6 grid are objects.

    With `looks`, numbers of colour channels, it serves embeddings: the means of these channels in each cell.
    """
    side = CELLS * CELL_PX
    corners = np.array([[x, y, x + 1, y + 1] for y in range(CELLS) for x in range(CELLS)], np.float32) * CELL_PX
    constants = {
        "grid": corners[None],
        "flat": np.array([-1, CELLS * CELLS], np.int64),
        "last": np.array([2], np.int64),
        "none": np.array(0.0, np.float32),
        "white": np.array(255.0, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["means"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        helper.make_node("Reshape", ["means", "flat"], ["sums"]),
        helper.make_node("Div", ["sums", "white"], ["scores"]),
        # As many of the constant boxes and classes as there are images.
        helper.make_node("Mul", ["scores", "none"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "last"], ["nothing_each"]),
        helper.make_node("Add", ["grid", "nothing_each"], ["boxes"]),
        helper.make_node("Cast", ["nothing"], ["classes"], to=TensorProto.INT64),
    ]
    cells = CELLS * CELLS
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", cells, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", cells]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, ["n", cells]),
    ]
    if looks:
        constants |= {"channels": np.array(looks, np.int64), "each": np.array([-1, len(looks), cells], np.int64)}
        nodes += [
            helper.make_node("AveragePool", ["planes"], ["tints"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
            helper.make_node("Gather", ["tints", "channels"], ["chosen"], axis=1),
            helper.make_node("Reshape", ["chosen", "each"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["embeddings"], perm=[0, 2, 1]),
        ]
        outputs.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", cells, len(looks)]))
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
