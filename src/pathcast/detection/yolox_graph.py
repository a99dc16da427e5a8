"""What a YOLOX's graph can do in less time: over a smaller input, or the same in another way.

A change is made only where the graph looks as YOLOX's exporter writes it; other graphs stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pathcast.detection.grid import grid
from pathcast.detection.served_graph import constants_of, shape_of

_FATAL = 4
"""How grave what onnxruntime logs must be: a graph that cannot be run is no news here."""

_GRAPHS = {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}

_TO_CLASSES = (
    ("Transpose", slice(1)),
    ("Concat", slice(None)),
    ("Reshape", slice(1)),
    ("Concat", slice(-1, None)),
    ("Sigmoid", slice(1)),
    ("Conv", slice(0)),
)
"""From the raw output back to what scores the classes of each stride: operators, and which inputs to follow."""


def slide_over(model: onnx.ModelProto, images: str, output: str, height: int, width: int) -> onnx.ModelProto | None:
    """The network over `images` [n, 3, height, width], as convolutions can take any; None where it cannot, when tried.

    `output` [n, cells, columns] has the cells of that input then.
    """
    slid = onnx.ModelProto()
    slid.CopyFrom(model)
    graph = slid.graph
    (given,) = (value for value in graph.input if value.name == images)
    (raw,) = (value for value in graph.output if value.name == output)
    for dimension, size in zip(given.type.tensor_type.shape.dim[2:], (height, width), strict=True):
        dimension.dim_value = size
    batch, _, columns = shape_of(raw)
    constants = constants_of(graph)
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and numpy_helper.to_array(shape)[1:-1].tolist() == [columns]:
            _replace(shape, np.array([0, columns, -1]))
    del graph.value_info[:]
    raw.type.tensor_type.ClearField("shape")
    found = _output_for_black(slid, images, output, height, width)
    cells = len(grid(height, width)[1])
    if found is None or found.shape != (1, cells, columns):
        return None
    raw.CopyFrom(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [batch, cells, columns]))
    return slid


def pool_in_turn(graph: onnx.GraphProto) -> None:
    """Let each pool of the spatial pyramid go over the one before: a maximum of maxima, over fewer numbers.

    Squares of 5, 9 and 13 cells become three of 5, as in the SPPF of Ultralytics' YOLOv5.
    """
    pools: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type == "MaxPool" and _square(node):
            pools.setdefault(node.input[0], []).append(node)
    for siblings in pools.values():
        sizes = [_square(node) for node in siblings]
        for (before, size), (node, larger) in reversed(list(pairwise(zip(siblings, sizes, strict=True)))):
            if larger > size:
                node.input[0] = before.output[0]
                _set_square(node, larger - size + 1)


def keep_classes(graph: onnx.GraphProto, output: str, classes: Sequence[int]) -> bool:
    """Let the head score these classes only, in this order; whether it does now.

    `output` [n, cells, 5 + all classes] becomes [n, cells, 5 + `classes`].
    """
    makers = {name: node for node in graph.node for name in node.output}
    used = Counter(name for node in graph.node for name in node.input)
    tensors = _fixed(graph)
    steps: list[list[onnx.NodeProto]] = []
    names = [output]
    for operator, followed in _TO_CLASSES:
        if any(used[name] > 1 or name not in makers or makers[name].op_type != operator for name in names):
            return False
        steps.append([makers[name] for name in names])
        names = [name for node in steps[-1] for name in node.input[followed]]
    (_, _, reshapes, _, _, heads) = steps
    weights = [name for node in heads for name in node.input[1:]]
    shapes = [node.input[1] for node in reshapes]
    constants = (*weights, *shapes)
    grouped = any(attribute.name == "group" and attribute.i > 1 for node in heads for attribute in node.attribute)
    if grouped or _has_branches(graph) or any(used[name] > 1 or name not in tensors for name in constants):
        return False
    values = {name: numpy_helper.to_array(tensors[name]) for name in constants}
    if any(len(values[name]) != 3 for name in shapes):
        return False
    if len({len(values[name]) for name in weights} | {int(values[name][1]) - 5 for name in shapes}) > 1:
        return False
    for name in weights:
        _replace(tensors[name], values[name][list(classes)])
    for name in shapes:
        batch, _, cells = values[name].tolist()
        _replace(tensors[name], np.array([batch, 5 + len(classes), cells]))
    return True


def convolve_focus(model: onnx.ModelProto, images: str) -> bool:
    """Let one convolution stand for the Focus behind the input `images` [n, 3, h, w] and the one behind that.

    Focus makes of three planes twelve of half their height and width: every second pixel of every second row. So
    3 x 3 of its cells are 6 x 6 pixels, in steps of two, as in Ultralytics' YOLOv5 since 6.0. Returns whether it does;
    then the planes are RGB, instead of the BGR that YOLOX takes.
    """
    graph = model.graph
    slices = list(takewhile(lambda node: node.op_type == "Slice", graph.node))
    focus, rest = graph.node[: len(slices) + 1], graph.node[len(slices) + 1 :]
    if not slices or not rest or focus[-1].op_type != "Concat" or rest[0].op_type != "Conv" or _has_branches(graph):
        return False
    first, joined = rest[0], focus[-1].output[0]
    inside = {images, *(name for node in focus for name in node.output)}
    used = Counter(name for node in rest for name in node.input)
    weights = _fixed(graph).get(first.input[1])
    if {name: used[name] for name in inside if used[name]} != {joined: 1} or first.input[0] != joined:
        return False
    if weights is None or used[weights.name] > 1 or _square(first) != 3 or not _is_focus(model, focus, images):
        return False
    by_quarter = numpy_helper.to_array(weights).reshape(-1, 2, 2, 3, 3, 3)  # column, row; colour; y, x
    _replace(weights, by_quarter[:, :, :, ::-1].transpose(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6))
    shape = {"kernel_shape": [6, 6], "pads": [2, 2, 2, 2], "strides": [2, 2]}
    first.CopyFrom(helper.make_node("Conv", [images, *first.input[1:]], first.output, first.name, **shape))
    unused = {name for node in focus for name in node.input} - used.keys()
    kept = [tensor for tensor in graph.initializer if tensor.name not in unused]
    del graph.node[: len(focus)]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return True


def _is_focus(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], images: str) -> bool:
    """Whether the last of `nodes` joins the quarters of `images` in the order of YOLOX's Focus."""
    graph, joined = model.graph, nodes[-1].output[0]
    (given,) = (value for value in graph.input if value.name == images)
    needed = {name for node in nodes for name in node.input}
    start = helper.make_graph(
        nodes,
        "start",
        [given],
        [helper.make_tensor_value_info(joined, onnx.TensorProto.FLOAT, None)],
        [tensor for tensor in graph.initializer if tensor.name in needed],
    )
    _, _, height, width = shape_of(given)
    planes = np.arange(3 * int(height) * int(width), dtype=np.float32).reshape(1, 3, int(height), int(width))
    quarters = [planes[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    alone = helper.make_model(start, opset_imports=model.opset_import, ir_version=model.ir_version)
    (made,) = ReferenceEvaluator(alone).run(None, {images: planes})
    return np.array_equal(made, np.concatenate(quarters, axis=1))


def _output_for_black(
    model: onnx.ModelProto, images: str, output: str, height: int, width: int
) -> npt.NDArray[np.float32] | None:
    """What the network says of a black image; None where it cannot be run on one."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (found,) = session.run([output], {images: np.zeros((1, 3, height, width), np.float32)})
    except Exception:  # onnxruntime's errors share no base class below Exception
        return None
    answer: npt.NDArray[np.float32] = found
    return answer


def _square(node: onnx.NodeProto) -> int:
    """The side of the square that a pool or a convolution of every cell looks at, or 0 where it is of another kind."""
    told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    side = told.get("kernel_shape", [0])[0]
    usual = {
        "kernel_shape": [side] * 2,
        "pads": [side // 2] * 4,
        "strides": [1, 1],
        "ceil_mode": 0,
        "dilations": [1, 1],
        "group": 1,
    }
    as_usual = all(usual.get(name) == value for name, value in told.items())
    return side if as_usual and "pads" in told and side % 2 and len(node.output) == 1 else 0


def _set_square(pool: onnx.NodeProto, side: int) -> None:
    for attribute in pool.attribute:
        if attribute.name == "kernel_shape":
            attribute.ints[:] = [side] * 2
        elif attribute.name == "pads":
            attribute.ints[:] = [side // 2] * 4


def _replace(tensor: onnx.TensorProto, value: npt.NDArray[Any]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


def _fixed(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initialisers, by name, but for those that whoever runs the graph may give instead."""
    given = {value.name for value in graph.input}
    return {tensor.name: tensor for tensor in graph.initializer if tensor.name not in given}


def _has_branches(graph: onnx.GraphProto) -> bool:
    """Whether a node has graphs of its own, which may use any name of this one."""
    return any(attribute.type in _GRAPHS for node in graph.node for attribute in node.attribute)
