"""A trained sign classifier as a served model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx
from keras import ops

from pathcast.core.arrays import Int64Array, UInt8Array
from pathcast.core.errors import GateFailedError
from pathcast.export.onnx import to_onnx
from pathcast.export.onnx_file import save_onnx
from pathcast.export.parity import Arrays, check_parity
from pathcast.export.quantize import after_predictions, in_eight_bits
from pathcast.export.triton_config import ServingOptions, check_config, render_config
from pathcast.recognition.sign_classes import CLASS_NAMES
from pathcast.serving.classifiers import FileClassifier

PARITY_TOLERANCE = {"probabilities": 1e-4}
MAX_BATCH_SIZE = 16
"""The features of more do not fit a core's cache: an image of 64 takes longer than one of 16."""

ACCURACY_DROP = 0.002
_PARITY_IMAGES = 512
_CALIBRATION_IMAGES = 512
_CALIBRATION_BATCH = 32


def write_signs(model: keras.Model, images: UInt8Array, target: Path, version: int = 1) -> Mapping[str, float]:
    """Write `target`/`version`/model.onnx and `target`/config.pbtxt; nothing is written if the file differs.

    On real `images` (n, 48, 48, 3), 512 of them at most, probabilities must agree within 1e-4 with those of the
    network. Returns the differences; GateFailedError where one is larger.
    """
    converted = to_onnx(model, ["probabilities"], batch="N")
    chosen = images[:: max(len(images) // _PARITY_IMAGES, 1)]

    def reference(inputs: Arrays) -> Arrays:
        return {"probabilities": ops.convert_to_numpy(model(inputs["images"], training=False)["probabilities"])}

    parity = check_parity(
        reference, converted.SerializeToString(), {"images": np.asarray(chosen)}, tolerance=PARITY_TOLERANCE
    )
    path = target / str(version) / "model.onnx"
    save_onnx(converted, path)
    write_config(target, path)
    return parity.differences


def quantise_signs(
    file: Path, target: Path, calibration: UInt8Array, judged: UInt8Array, labels: Int64Array, version: int = 1
) -> Mapping[str, float]:
    """Write `target` with the served `file` in eight bits, scales from `calibration` images (n, 48, 48, 3).

    Returns both accuracies on the `judged` images with their `labels`; GateFailedError, and nothing is written, where
    eight bits lose more than .2 points. Contrast and window stay in float32: in eight bits a sign would be cut askew.
    """
    graph = onnx.load(str(file)).graph
    first = [node.name for node in graph.node if "/window" in node.name or "/standardised" in node.name]
    chosen = calibration[:: max(len(calibration) // _CALIBRATION_IMAGES, 1)]
    batches = (chosen[start : start + _CALIBRATION_BATCH] for start in range(0, len(chosen), _CALIBRATION_BATCH))
    small = in_eight_bits(file, batches, [*first, *after_predictions(graph)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        save_onnx(small, path)
        accuracies = [
            float((FileClassifier(each).classify(judged)[0].argmax(axis=1) == labels).mean()) for each in (file, path)
        ]
    if accuracies[0] - accuracies[1] > ACCURACY_DROP:
        raise GateFailedError(
            f"int8: expected to lose at most {ACCURACY_DROP:.1%} of accuracy on {len(labels)} images, got "
            f"{accuracies[1]:.2%} for {accuracies[0]:.2%}",
            hint="calibrate with more images of the same cameras, or serve float32",
        )
    path = target / str(version) / "model.onnx"
    save_onnx(small, path)
    write_config(target, path)
    return {"accuracy_float32": accuracies[0], "accuracy": accuracies[1]}


def write_config(folder: Path, file: Path) -> None:
    """Write `folder`/config.pbtxt for the served file."""
    names = ",".join(CLASS_NAMES)
    options = ServingOptions(max_batch_size=MAX_BATCH_SIZE, threads=1, parameters={"class_names": names})
    config = render_config("signs", file, options)
    check_config(config, file)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
