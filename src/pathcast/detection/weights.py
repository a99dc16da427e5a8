"""The detector's weights: published ones by name, and without normalisation for serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnx

from pathcast.core.arrays import Float32Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.model import build_detector, convolution_names
from pathcast.detection.settings import DetectorSettings


def load_yolox(graph: onnx.GraphProto, settings: DetectorSettings) -> keras.Model:
    """The network with the weights of a published YOLOX, its 80 classes cut to the platform's.

    `settings` must have the file's width, depth and kind of convolution; the input may be of another size. A branch
    for appearance, which the file lacks, stays fresh.
    Predictions go by the names of their initialisers, the convolutions before them (whose normalisation the
    file has folded in, and with it their names) by the order in which YOLOX calls them; every shape is
    checked. Raises InvalidInputError at the first that does not fit.
    """
    if settings.normalised or settings.activation != "silu":
        raise InvalidInputError(
            f"weights of YOLOX: expected settings without normalisation and with silu, got {settings}",
        )
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    names = convolution_names(settings)
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    if len(nodes) != len(names):
        raise InvalidInputError(f"weights of YOLOX: expected {len(names)} convolutions, got {len(nodes)}")
    model = build_detector(settings)
    for name, node in zip(names, nodes, strict=True):
        kernel, bias = (_array(tensors, parameter, name) for parameter in node.input[1:3])
        if "_preds." in name and node.input[1] != f"head.{name}.weight":
            raise InvalidInputError(f"weights of YOLOX: expected head.{name}.weight, got {node.input[1]}")
        if name.startswith("cls_preds.") and len(bias) > len(COCO_CLASS_IDS):  # else imported, and has no others
            kernel, bias = kernel[list(COCO_CLASS_IDS)], bias[list(COCO_CLASS_IDS)]
        layer = model.get_layer(name)
        values = [as_keras(name, kernel, depthwise=isinstance(layer, keras.layers.DepthwiseConv2D)), bias]
        expected = [tuple(variable.shape) for variable in layer.weights]
        if expected != [value.shape for value in values]:
            raise InvalidInputError(
                f"weights of YOLOX: {name}: expected shapes {expected}, got {[value.shape for value in values]}",
                hint="choose the width, depth and kind of convolution of the file",
            )
        layer.set_weights(values)
    return model


@keras.saving.register_keras_serializable(package="pathcast")
class Folded(keras.layers.Layer):  # type: ignore[misc]
    """In the place of a normalisation that the convolution before it has taken over: passes on what it gets."""

    def call(self, features: Any, training: bool = False, mask: Any = None) -> Any:
        return features


def without_normalisation(model: keras.Model) -> keras.Model:
    """The same function with every batch normalisation folded into the convolution before it."""
    names = {layer.name for layer in model.layers}

    def rebuild(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Layer):
            return layer
        if isinstance(layer, keras.layers.BatchNormalization):
            return Folded(name=layer.name)
        config = layer.get_config()
        if f"{layer.name}.bn" in names:
            config["use_bias"] = True
        return type(layer).from_config(config)

    plain = keras.models.clone_model(model, clone_function=rebuild)
    for layer in plain.layers:
        values = model.get_layer(layer.name).get_weights() if layer.weights else []
        if len(values) < len(layer.weights):
            normalisation = model.get_layer(f"{layer.name}.bn")
            gamma, beta, mean, variance = normalisation.get_weights()
            factor = gamma / np.sqrt(variance + normalisation.epsilon)
            shape = (1, 1, -1, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (1, 1, 1, -1)
            values = [values[0] * factor.reshape(shape), beta - mean * factor]
        layer.set_weights([np.asarray(value, np.float32) for value in values])
    return plain


def _array(tensors: Mapping[str, Any], name: str, layer: str) -> Float32Array:
    if name not in tensors:
        raise InvalidInputError(f"weights of YOLOX: {layer}: expected an initialiser {name!r}, found none")
    return np.asarray(onnx.numpy_helper.to_array(tensors[name]), np.float32)


def as_keras(name: str, kernel: Float32Array, *, depthwise: bool) -> Float32Array:
    """A kernel of ONNX (out, in, h, w) for a layer of Keras (h, w, in, out), or (h, w, channels, 1) where `depthwise`.

    The first layer of YOLOX comes out unfolded, and for RGB.
    """
    moved = np.transpose(kernel, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if name != "stem" or moved.shape[:3] != (3, 3, 12):
        return np.ascontiguousarray(moved)
    # Channel 3 q + c of the folded image is colour c (BGR) of the pixel (q % 2, q // 2) of a 2x2 block.
    blocks = moved.reshape(3, 3, 2, 2, 3, -1)[..., ::-1, :]
    return np.ascontiguousarray(blocks.transpose(0, 3, 1, 2, 4, 5).reshape(6, 6, 3, -1))
