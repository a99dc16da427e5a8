"""Every published size of YOLOX: its parameters, and its tensors by name and shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import helper, numpy_helper

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.model import build_detector, convolution_names
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.detection.weights import load_yolox
from pathcast.detection.yolox_import import YoloxFile

COCO_CLASSES = 80

# Millions, as in the tables of YOLOX's README: nano and tiny at 416 pixels, the others at 640.
PUBLISHED = {"nano": 0.91, "tiny": 5.06, "small": 9.0, "medium": 25.3, "large": 54.2, "xlarge": 99.1}

Shape = tuple[int, ...]


def published(width: float, depth: float, depthwise: bool) -> Iterator[tuple[str, Shape]]:
    """Names and shapes (out, in / groups, h, w) of the convolutions in the order of the forward pass.

    Written down from yolox/models/darknet.py, yolo_pafpn.py and yolo_head.py, without the prefixes of the modules.
    """
    base, blocks = int(width * 64), max(round(depth * 3), 1)

    def plain(name: str, given: int, out: int, kernel: int) -> Iterator[tuple[str, Shape]]:
        yield name, (out, given, kernel, kernel)

    def full(name: str, given: int, out: int) -> Iterator[tuple[str, Shape]]:
        if depthwise:
            yield f"{name}.dconv", (given, 1, 3, 3)
            yield f"{name}.pconv", (out, given, 1, 1)
        else:
            yield name, (out, given, 3, 3)

    def stage(name: str, given: int, out: int, count: int) -> Iterator[tuple[str, Shape]]:
        half = out // 2
        yield from plain(f"{name}.conv1", given, half, 1)
        yield from plain(f"{name}.conv2", given, half, 1)
        for index in range(count):
            yield from plain(f"{name}.m.{index}.conv1", half, half, 1)
            yield from full(f"{name}.m.{index}.conv2", half, half)
        yield from plain(f"{name}.conv3", 2 * half, out, 1)

    yield from plain("stem", 12, base, 3)
    for level, factor, count in ((2, 2, blocks), (3, 4, 3 * blocks), (4, 8, 3 * blocks)):
        yield from full(f"dark{level}.0", base * factor // 2, base * factor)
        yield from stage(f"dark{level}.1", base * factor, base * factor, count)
    yield from full("dark5.0", 8 * base, 16 * base)
    yield from plain("dark5.1.conv1", 16 * base, 8 * base, 1)
    yield from plain("dark5.1.conv2", 32 * base, 16 * base, 1)
    yield from stage("dark5.2", 16 * base, 16 * base, blocks)
    fine, middle, coarse = (int(channels * width) for channels in (256, 512, 1024))
    neck = round(3 * depth)
    yield from plain("lateral_conv0", coarse, middle, 1)
    yield from stage("C3_p4", 2 * middle, middle, neck)
    yield from plain("reduce_conv1", middle, fine, 1)
    yield from stage("C3_p3", 2 * fine, fine, neck)
    yield from full("bu_conv2", fine, fine)
    yield from stage("C3_n3", 2 * fine, middle, neck)
    yield from full("bu_conv1", middle, middle)
    yield from stage("C3_n4", 2 * middle, coarse, neck)
    head = int(256 * width)
    for level, channels in enumerate((fine, middle, coarse)):
        yield from plain(f"stems.{level}", channels, head, 1)
        for branch, outputs in (("cls", {"cls": COCO_CLASSES}), ("reg", {"reg": 4, "obj": 1})):
            for index in range(2):
                yield from full(f"{branch}_convs.{level}.{index}", head, head)
            for part, count in outputs.items():
                yield from plain(f"{part}_preds.{level}", head, count, 1)


def of_size(settings: DetectorSettings) -> dict[str, Shape]:
    return dict(published(settings.width, settings.depth, settings.depthwise))


def in_keras(name: str, shape: Shape, settings: DetectorSettings) -> Shape:
    """(h, w, in, out) or, for one filter a channel, (h, w, channels, 1); fewer classes, and the stem unfolded."""
    out, given, height, width = shape
    if name == "stem":
        return 6, 6, 3, out
    if name.endswith(".dconv"):
        return height, width, out, 1
    return height, width, given, settings.classes if name.startswith("cls_preds") else out


@pytest.mark.parametrize("size", SIZES)
def test_a_size_has_the_published_parameters_under_the_published_names(size: str) -> None:
    tensors = of_size(SIZES[size])
    # A normalisation's scale and shift, or the bias of a prediction.
    extra = sum((1 if "_preds" in name else 2) * shape[0] for name, shape in tensors.items())
    parameters = (sum(prod(shape) for shape in tensors.values()) + extra) / 1e6
    assert parameters == pytest.approx(PUBLISHED[size], rel=0.005)
    assert convolution_names(SIZES[size]) == list(tensors)


@pytest.mark.parametrize("size", ["nano", "medium", "xlarge"])
def test_the_network_s_tensors_have_the_published_shapes(size: str) -> None:
    settings = replace(SIZES[size], input_width=32, input_height=32)
    tensors = of_size(settings)
    # In a graph of its own no weight is drawn: a hundred million of them would take their time.
    with tf.Graph().as_default():
        model = build_detector(settings)
    kernels = {name: tuple(model.get_layer(name).kernel.shape) for name in tensors}
    assert kernels == {name: in_keras(name, shape, settings) for name, shape in tensors.items()}


def file_of(settings: DetectorSettings) -> YoloxFile:
    """A file with the tensors of that size, of random values; convolutions alone, which is what is read."""
    random = np.random.default_rng(1)
    tensors, nodes = [], []
    for name, shape in of_size(settings).items():
        # Exporters rename what a normalisation was folded into; predictions keep their names.
        names = [f"head.{name}.{kind}" if "_preds" in name else f"onnx::{name}.{kind}" for kind in ("weight", "bias")]
        for label, size in zip(names, (shape, shape[:1]), strict=True):
            tensors.append(numpy_helper.from_array(random.normal(0, 0.01, size).astype(np.float32), label))
        nodes.append(helper.make_node("Conv", ["x", *names], [name]))
    graph = helper.make_graph(nodes, "yolox", [], [], tensors)
    return YoloxFile(helper.make_model(graph), "images", "output", settings.input_width, settings.input_height)


def test_weights_of_another_size_than_nano_load_by_name() -> None:
    settings = replace(SIZES["tiny"], width=0.125, normalised=False)
    source = file_of(settings)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.model.graph.initializer}
    model = load_yolox(source.model.graph, settings)
    kernel, bias = model.get_layer("C3_n4.m.0.conv2").get_weights()
    np.testing.assert_array_equal(kernel, values["onnx::C3_n4.m.0.conv2.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(bias, values["onnx::C3_n4.m.0.conv2.bias"])
    kernel, bias = model.get_layer("cls_preds.2").get_weights()
    np.testing.assert_array_equal(kernel[0, 0].T, values["head.cls_preds.2.weight"][list(COCO_CLASS_IDS), :, 0, 0])
    swapped: onnx.ModelProto = source.model
    first, second = (
        next(node for node in swapped.graph.node if node.output[0] == f"{part}_preds.1") for part in ("reg", "obj")
    )
    first.input[1], second.input[1] = second.input[1], first.input[1]
    with pytest.raises(InvalidInputError, match=r"expected head\.reg_preds\.1\.weight, got head\.obj_preds\.1\.weight"):
        load_yolox(source.model.graph, settings)
