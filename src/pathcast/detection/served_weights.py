"""The weights that a served detector's file holds, so that training can go on from whatever serves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from pathcast.core.errors import InvalidInputError
from pathcast.detection.model import build_detector, convolution_names
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.detection.weights import as_keras, load_yolox

_LAYER = re.compile(r"detector_1/(?P<layer>.+)_1/(Squeeze|Reshape):0")
"""How the exporter calls the bias of a layer; the kernels of some lose their names on the way."""


def read_served(path: Path) -> tuple[keras.Model, DetectorSettings]:
    """The network, without normalisation, of a file that this project exported or imported from YOLOX.

    Raises InvalidInputError where the file holds another network, one of Ultralytics say, or one in eight bits.
    """
    try:
        graph = onnx.load(str(path)).graph
    except (OSError, ValueError, DecodeError) as error:
        raise InvalidInputError(f"{path}: not an ONNX file: {error}") from error
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    settings = _settings_of(path, graph, convolutions)
    if "head.cls_preds.0.weight" in tensors:
        return load_yolox(graph, settings), settings
    by_layer = {found["layer"]: node for node in convolutions if (found := _LAYER.fullmatch(node.input[-1]))}
    network = build_detector(settings)
    for layer in network.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            continue
        node = by_layer.get(layer.name)
        if node is None:
            raise InvalidInputError(f"{path}: expected a convolution {layer.name} with a bias, found none")
        kernel, bias = (np.asarray(numpy_helper.to_array(tensors[name]), np.float32) for name in node.input[1:3])
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        values = [as_keras(layer.name, kernel, depthwise=depthwise), bias]
        if [value.shape for value in values] != [tuple(variable.shape) for variable in layer.weights]:
            raise InvalidInputError(f"{path}: convolution {layer.name}: shapes of another network than {settings}")
        layer.set_weights(values)
    return network, settings


def _settings_of(path: Path, graph: onnx.GraphProto, convolutions: list[Any]) -> DetectorSettings:
    """The settings of a network by its shapes and the number of its convolutions."""
    shapes: Mapping[str, list[int]] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    embedding = next((_last_size(output) for output in graph.output if output.name == "embeddings"), 0)
    try:
        _, height, width, _ = (size.dim_value for size in graph.input[0].type.tensor_type.shape.dim)
        channels = shapes[convolutions[0].input[1]][0]
        depthwise = any(shapes[node.input[1]][1] == 1 and shapes[node.input[1]][0] > 1 for node in convolutions)
        found = DetectorSettings(
            channels / 64,
            _depth(len(convolutions), depthwise=depthwise, embedding=embedding),
            depthwise=depthwise,
            activation="relu" if any(node.op_type == "Relu" for node in graph.node) else "silu",
            normalised=False,
            input_width=width,
            input_height=height,
            embedding=embedding,
        )
    except (ValueError, KeyError, IndexError, InvalidInputError) as error:
        raise InvalidInputError(f"{path}: expected a detector of YOLOX's kind, in 32 bits: {error}") from error
    return found


def _depth(convolutions: int, *, depthwise: bool, embedding: int) -> float:
    branch = 2 if embedding else 0
    for depth in sorted({settings.depth for settings in SIZES.values()}):
        names = convolution_names(DetectorSettings(depth=depth, depthwise=depthwise))
        if len(names) + branch == convolutions:
            return depth
    raise InvalidInputError(f"{convolutions} convolutions")


def _last_size(output: onnx.ValueInfoProto) -> int:
    return int(output.type.tensor_type.shape.dim[-1].dim_value)
