"""A YOLOX ONNX file as the platform's served detector.

YOLOX (Ge et al., 2021, arXiv:2107.08430) exported with `decode_in_inference=False` gives one row per
grid cell: box offsets, objectness and class probabilities. Here the graph gains what stands before
and after it: RGB bytes in, the best boxes of the platform's classes out, any batch size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.grid import grid
from pathcast.detection.settings import STRIDES, TOP_K

OPSET = 17
IR_VERSION = 8
COCO_CLASSES = 80
_ROW = 5 + COCO_CLASSES
_SERVED = "served/"
_OWN_NAMES = ("images", "boxes", "scores", "classes")


@dataclass(frozen=True, slots=True)
class YoloxFile:
    """A checked YOLOX graph: names of its input and raw output, its input size in pixels."""

    model: onnx.ModelProto
    input_name: str
    output_name: str
    width: int
    height: int


def read_yolox(path: Path) -> YoloxFile:
    """Load and check a YOLOX ONNX file with COCO's 80 classes.

    Raises InvalidInputError when the file cannot be read, or is not a YOLOX with one float input
    [1, 3, H, W] and one raw grid output [1, H/8·W/8 + H/16·W/16 + H/32·W/32, 85].
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file", hint="give the path of a YOLOX .onnx file")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's, its checker's and plain ValueErrors alike
        raise InvalidInputError(f"{path}: not a valid ONNX file: {error}") from error
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialisers]
    outputs = list(model.graph.output)
    hint = "export YOLOX with `python tools/export_onnx.py` and without --decode_in_inference"
    if len(inputs) != 1 or len(outputs) != 1:
        raise InvalidInputError(
            f"{path}: expected a YOLOX with 1 input and 1 output, got {[value.name for value in inputs]} "
            f"and {[value.name for value in outputs]}",
            hint=hint,
        )
    given, raw = _shape(inputs[0]), _shape(outputs[0])
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT or len(given) != 4 or given[1] != 3:
        raise InvalidInputError(
            f"{path}: input {inputs[0].name!r}: expected FLOAT [1, 3, height, width], "
            f"got {TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)} {given}",
            hint=hint,
        )
    height, width = given[2], given[3]
    if not isinstance(height, int) or not isinstance(width, int) or height % STRIDES[-1] or width % STRIDES[-1]:
        raise InvalidInputError(
            f"{path}: input {inputs[0].name!r}: expected a fixed height and width divisible by {STRIDES[-1]}, "
            f"got {given}",
            hint=hint,
        )
    rows = len(grid(height, width)[1])
    if len(raw) != 3 or raw[1:] != [rows, _ROW]:
        raise InvalidInputError(
            f"{path}: output {outputs[0].name!r}: expected [1, {rows}, {_ROW}] for YOLOX with {COCO_CLASSES} classes "
            f"at {width}x{height}, got {raw}",
            hint=hint,
        )
    return YoloxFile(model, inputs[0].name, outputs[0].name, width, height)


def to_served(source: YoloxFile, *, top_k: int = TOP_K) -> onnx.ModelProto:
    """The served graph: `images` UINT8 [N, H, W, 3] RGB → `boxes`, `scores`, `classes` of the `top_k` best cells.

    `boxes` FLOAT [N, K, 4] xyxy in input pixels, `scores` FLOAT [N, K] descending, `classes` INT64 [N, K].
    Scores are objectness x probability of the best of the platform's classes. No suppression of overlaps.
    """
    cells = len(grid(source.height, source.width)[1])
    if not 0 < top_k <= cells:
        raise InvalidInputError(f"top_k: expected 1 to {cells}, the grid's cells, got {top_k}")
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    if _opset(model) < OPSET:
        model = version_converter.convert_version(model, OPSET)
    graph = model.graph
    _free_batch(graph, _static_batch(source))
    _make_room(graph)
    before = _preparation(_renamed(source.input_name))
    after, constants = _decoding(source, top_k)
    body = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*before, *body, *after])
    graph.initializer.extend(
        [numpy_helper.from_array(np.array([2, 1, 0], dtype=np.int64), _SERVED + "bgr_of_rgb"), *constants]
    )
    graph.input.append(
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", source.height, source.width, 3])
    )
    graph.output.extend(
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", top_k, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", top_k]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["N", top_k]),
        ]
    )
    graph.name = "detector"
    model.ir_version = IR_VERSION
    model.producer_name = "pathcast"
    onnx.checker.check_model(model, full_check=True)
    return model


def _preparation(input_name: str) -> list[onnx.NodeProto]:
    # The shuffles run on bytes, a quarter of the traffic of floats.
    return [
        helper.make_node("Transpose", ["images"], [_SERVED + "planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", [_SERVED + "planes", _SERVED + "bgr_of_rgb"], [_SERVED + "bgr"], axis=1),
        helper.make_node("Cast", [_SERVED + "bgr"], [input_name], to=TensorProto.FLOAT),
    ]


def _decoding(source: YoloxFile, top_k: int) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    corners, strides = grid(source.height, source.width)
    constants = {
        "corners": corners.T[None],
        "strides": strides[None, None],
        "class_rows": np.array([5 + coco_id for coco_id in COCO_CLASS_IDS], dtype=np.int64),
        "parts": np.array([2, 2, 1, COCO_CLASSES], dtype=np.int64),
        "half": np.array(0.5, dtype=np.float32),
        "k": np.array([top_k], dtype=np.int64),
        "second_axis": np.array([1], dtype=np.int64),
        "last_axis": np.array([-1], dtype=np.int64),
    }
    nodes: list[onnx.NodeProto] = []
    outside = {"raw": _renamed(source.output_name)} | {name: name for name in _OWN_NAMES}

    def add(operator: str, inputs: str, outputs: str, **attributes: object) -> None:
        named = [[outside.get(name, _SERVED + name) for name in names.split()] for names in (inputs, outputs)]
        nodes.append(helper.make_node(operator, named[0], named[1], **attributes))

    add("Transpose", "raw", "rows", perm=[0, 2, 1])
    add("Split", "rows parts", "offsets log_sizes objectness all_classes", axis=1)
    add("Gather", "rows class_rows", "probabilities", axis=1)
    add("ReduceMax", "probabilities", "best_probability", axes=[1], keepdims=1)
    add("ArgMax", "probabilities", "best_class", axis=1, keepdims=0)
    add("Mul", "objectness best_probability", "cell_scores_plane")
    add("Squeeze", "cell_scores_plane second_axis", "cell_scores")
    add("TopK", "cell_scores k", "scores best_cells", axis=1, largest=1, sorted=1)
    add("Unsqueeze", "best_cells last_axis", "best_cell_indices")
    add("Add", "offsets corners", "centres_in_cells")
    add("Mul", "centres_in_cells strides", "centres")
    add("Exp", "log_sizes", "sizes_in_cells")
    add("Mul", "sizes_in_cells strides", "sizes")
    add("Mul", "sizes half", "half_sizes")
    add("Sub", "centres half_sizes", "lows")
    add("Add", "centres half_sizes", "highs")
    add("Concat", "lows highs", "corners_by_row", axis=1)
    add("Transpose", "corners_by_row", "cell_boxes", perm=[0, 2, 1])
    add("GatherND", "cell_boxes best_cell_indices", "boxes", batch_dims=1)
    add("GatherND", "best_class best_cell_indices", "classes", batch_dims=1)
    return nodes, [
        numpy_helper.from_array(np.ascontiguousarray(value), _SERVED + name) for name, value in constants.items()
    ]


def _renamed(name: str) -> str:
    return f"source/{name}" if name in _OWN_NAMES else name


def _make_room(graph: onnx.GraphProto) -> None:
    """Rename the source's tensors that have a name of the served signature."""
    for node in graph.node:
        node.input[:] = [_renamed(name) for name in node.input]
        node.output[:] = [_renamed(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = _renamed(tensor.name)


def _free_batch(graph: onnx.GraphProto, batch: int | None) -> None:
    """Let every Reshape whose constant shape starts with the exported batch size take the batch as it comes."""
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        tensor = initialisers.get(node.input[1], constants.get(node.input[1]))
        if tensor is None:
            continue
        shape = numpy_helper.to_array(tensor).copy()
        if batch is not None and shape.size and shape[0] == batch:
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def _static_batch(source: YoloxFile) -> int | None:
    batch = next(_shape(value)[0] for value in source.model.graph.input if value.name == source.input_name)
    return batch if isinstance(batch, int) else None


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or "?"
        for dimension in value.type.tensor_type.shape.dim
    ]


def _opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
