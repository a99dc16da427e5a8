"""The pretrained eyes of the action recogniser: the first half of YOLOX-nano, which has learned COCO's objects.

The weights lie in the package (1.8 MB); `python -m pathcast.training.backbone yolox_nano.onnx` writes them again from
the file that YOLOX's authors publish under Apache-2.0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.detection.model import build_detector
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.detection.weights import load_yolox
from pathcast.detection.yolox_import import read_yolox
from pathcast.training.network import assign_weights, read_weights

WEIGHTS = Path(__file__).parent / "weights" / "yolox_nano_backbone.npz"
LEVELS = ("dark3.1.conv3.act", "dark4.1.conv3.act", "dark5.2.conv3.act")
"""Layers that end the features at 8, 16 and 32 pixels."""


def pretrained_backbone(side: int, levels: Sequence[str] = LEVELS) -> keras.Model:
    """Images (n, side, side, 3), 0-255 RGB → a feature map at each of `levels`, with the weights of the package."""
    model = _cut(build_detector(_settings(side)), levels)
    with np.load(WEIGHTS, allow_pickle=False) as arrays:
        known = {variable.path for variable in model.weights}
        assign_weights(model, {name: arrays[name].astype(np.float32) for name in arrays.files if name in known})
    return model


def write_backbone(source: Path, target: Path = WEIGHTS) -> None:
    """Write the weights of a published YOLOX-nano file; in float16, which they lose nothing of note by."""
    model = _cut(load_yolox(read_yolox(source).model.graph, _settings(SIZES["nano"].input_width)), LEVELS)
    target.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: values.astype(np.float16) for name, values in read_weights(model).items()}
    np.savez_compressed(target, allow_pickle=False, **weights)


def _settings(side: int) -> DetectorSettings:
    return replace(SIZES["nano"], normalised=False, input_width=side, input_height=side)


def _cut(detector: keras.Model, levels: Sequence[str]) -> keras.Model:
    return keras.Model(detector.input, [detector.get_layer(name).output for name in levels], name="backbone")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise InvalidInputError(f"expected one YOLOX file, got {sys.argv[1:]}")
    write_backbone(Path(sys.argv[1]))
