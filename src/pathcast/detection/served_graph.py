"""ONNX graphs of foreign detectors, put into the platform's served signature.

What stands before and after the foreign graph is written here: bytes in, the best boxes of the platform's classes
out, any batch size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper, version_converter

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError

OPSET = 17
IR_VERSION = 8
_SERVED = "served/"
_OWN_NAMES = ("images", "boxes", "scores", "classes")

Cells = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Boxes (a, 4) xyxy in input pixels, scores (a, c), and the platform's class of each column (c,)."""


class ForeignDetector(Protocol):
    """A checked graph of another project: one image in, one raw tensor out."""

    @property
    def model(self) -> onnx.ModelProto: ...

    @property
    def input_name(self) -> str: ...

    @property
    def output_name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...

    def input_of(self, image: UInt8Array) -> npt.NDArray[np.float32]:
        """What the graph takes for a letterboxed RGB image (h, w, 3)."""
        ...

    def cells_of(self, raw: npt.NDArray[np.float32]) -> Cells:
        """One image's raw output decoded in float64, apart from any graph; InvalidInputError where it is not raw."""
        ...


class Wiring:
    """Nodes and constants around a foreign graph; names are its own, but for `raw`, `input` and the served ones."""

    def __init__(self, source: ForeignDetector, constants: Mapping[str, npt.NDArray[Any]]) -> None:
        outside = {"raw": _renamed(source.output_name), "input": _renamed(source.input_name)}
        self._outside = outside | {name: name for name in _OWN_NAMES}
        self.nodes: list[onnx.NodeProto] = []
        self._constants = dict(constants)

    def add(self, operator: str, inputs: str, outputs: str, **attributes: object) -> None:
        """One node; names are separated by spaces."""
        named = [[self._outside.get(name, _SERVED + name) for name in names.split()] for names in (inputs, outputs)]
        self.nodes.append(helper.make_node(operator, named[0], named[1], **attributes))

    def best_cells(self, top_k: int, class_ids: Sequence[int]) -> None:
        """From `cell_scores_plane` (n, 1, a), `best_class` (n, a), `centres` and `sizes` (n, 2, a) to the outputs."""
        self._constants |= {
            "half": np.array(0.5, np.float32),
            "k": np.array([top_k], np.int64),
            "second_axis": np.array([1], np.int64),
            "last_axis": np.array([-1], np.int64),
            "class_ids": np.array(class_ids, np.int64),
        }
        self.add("Squeeze", "cell_scores_plane second_axis", "cell_scores")
        self.add("TopK", "cell_scores k", "scores best_cells", axis=1, largest=1, sorted=1)
        self.add("Unsqueeze", "best_cells last_axis", "best_cell_indices")
        self.add("Mul", "sizes half", "half_sizes")
        self.add("Sub", "centres half_sizes", "lows")
        self.add("Add", "centres half_sizes", "highs")
        self.add("Concat", "lows highs", "corners_by_row", axis=1)
        self.add("Transpose", "corners_by_row", "cell_boxes", perm=[0, 2, 1])
        self.add("GatherND", "cell_boxes best_cell_indices", "boxes", batch_dims=1)
        self.add("GatherND", "best_class best_cell_indices", "best_columns", batch_dims=1)
        self.add("Gather", "class_ids best_columns", "classes")

    def tensors(self) -> list[onnx.TensorProto]:
        """The constants as initialisers."""
        return [
            numpy_helper.from_array(np.ascontiguousarray(value), _SERVED + name)
            for name, value in self._constants.items()
        ]


def enclosed(source: ForeignDetector, before: Wiring, after: Wiring, top_k: int) -> onnx.ModelProto:
    """The served graph: `images` UINT8 [N, H, W, 3] RGB → `boxes`, `scores`, `classes` of the `top_k` best cells.

    `boxes` FLOAT [N, K, 4] xyxy in input pixels, `scores` FLOAT [N, K] descending, `classes` INT64 [N, K]. No
    suppression of overlaps.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    if _opset(model) < OPSET:
        model = version_converter.convert_version(model, OPSET)
    graph = model.graph
    _free_batch(graph, _static_batch(source))
    _make_room(graph)
    body = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend([*before.nodes, *body, *after.nodes])
    graph.initializer.extend([*before.tensors(), *after.tensors()])
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


def is_served(path: Path) -> bool:
    """Whether an ONNX file has the served signature, of whoever's network; False where it cannot be read."""
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (OSError, ValueError, DecodeError):
        return False
    return {"boxes", "scores", "classes"} <= {output.name for output in graph.output}


def load_onnx(path: Path, hint: str) -> tuple[onnx.ModelProto, onnx.ValueInfoProto, onnx.ValueInfoProto]:
    """A checked file with its one input and its one output; InvalidInputError where it is something else."""
    if not path.is_file():
        got = "it is a folder" if path.is_dir() else "no such file"
        raise InvalidInputError(f"{path}: expected an ONNX file, {got}", hint=hint)
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's, its checker's and plain ValueErrors alike
        raise InvalidInputError(f"{path}: not a valid ONNX file: {error}") from error
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialisers]
    outputs = list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        raise InvalidInputError(
            f"{path}: expected a detector with 1 input and 1 output, got {[value.name for value in inputs]} "
            f"and {[value.name for value in outputs]}",
            hint=hint,
        )
    given = shape_of(inputs[0])
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT or len(given) != 4 or given[1] != 3:
        raise InvalidInputError(
            f"{path}: input {inputs[0].name!r}: expected FLOAT [1, 3, height, width], "
            f"got {TensorProto.DataType.Name(inputs[0].type.tensor_type.elem_type)} {given}",
            hint=hint,
        )
    return model, inputs[0], outputs[0]


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
    constants = constants_of(graph)
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        tensor = constants.get(node.input[1])
        if tensor is None:
            continue
        shape = numpy_helper.to_array(tensor).copy()
        if batch is not None and shape.size and shape[0] == batch:
            shape[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def _static_batch(source: ForeignDetector) -> int | None:
    batch = next(shape_of(value)[0] for value in source.model.graph.input if value.name == source.input_name)
    return batch if isinstance(batch, int) else None


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors of a graph that are given in it, by name: what Constant nodes hold, and initialisers."""
    held = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return held | {tensor.name: tensor for tensor in graph.initializer}


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Sizes of a tensor, or names of those that are free."""
    return [
        dimension.dim_value if dimension.HasField("dim_value") else dimension.dim_param or "?"
        for dimension in value.type.tensor_type.shape.dim
    ]


def _opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
