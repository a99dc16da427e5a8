"""A trained detector as a served model: one file, its configuration, and the proof that it is the same detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.model import serving_model
from pathcast.detection.samples import InputSize, fitted
from pathcast.detection.settings import TOP_K
from pathcast.detection.weights import without_normalisation
from pathcast.export.gpu_config import PRECISION
from pathcast.export.onnx import to_onnx
from pathcast.export.onnx_file import save_onnx
from pathcast.export.triton_config import ServingOptions, check_config, render_config
from pathcast.training.detector_task import keras_predictor
from pathcast.training.predictors import Predict, evaluate_network, onnx_predictor

BOX_TOLERANCE_PX = 0.05
SCORE_TOLERANCE = 1e-4
MAP_TOLERANCE = 0.002
EMBEDDING_TOLERANCE = 1e-3
"""Of each component of an appearance vector, whose length is 1."""

_LEAST_SCORE = 1e-3
_OTHER_CLASS = 1e6
"""Added to the distance in pixels."""

Answers = Mapping[str, npt.NDArray[Any]]
_OUTPUTS = ("boxes", "scores", "classes", "embeddings")


def to_served_onnx(model: keras.Model, top_k: int = TOP_K) -> onnx.ModelProto:
    """The network as the file that Triton serves: bytes in, the best cells out, normalisation folded in."""
    plain = without_normalisation(model)
    served = plain if "scores" in plain.output else serving_model(plain, top_k)
    return to_onnx(served, [name for name in _OUTPUTS if name in served.output], batch="N")


def write_detector(
    model: keras.Model, frames: LabelledImages, target: Path, version: int = 1, *, gpu_precision: str = "FP32"
) -> Mapping[str, float]:
    """Write `target`/`version`/model.onnx and `target`/config.pbtxt; nothing is written if the file differs.

    On the real `frames`, boxes must agree within 0.05 px, scores within 1e-4, appearance vectors within 1e-3 and, where
    the frames are labelled, both average precisions within .002 with those of the network. Returns the differences;
    GateFailedError where one is larger or not a number, InvalidInputError where there are no frames.
    """
    converted = to_served_onnx(model)
    _, height, width, _ = model.inputs[0].shape
    differences = compare(
        keras_predictor(model), onnx_predictor(converted.SerializeToString()), frames, (width, height)
    )
    limits = {
        "box_difference_px": BOX_TOLERANCE_PX,
        "score_difference": SCORE_TOLERANCE,
        "embedding_difference": EMBEDDING_TOLERANCE,
        "map50_difference": MAP_TOLERANCE,
        "map50_95_difference": MAP_TOLERANCE,
    }
    beyond = {name: differences[name] for name, limit in limits.items() if not differences.get(name, 0.0) <= limit}
    if beyond:
        raise GateFailedError(
            f"export of the detector: expected differences of at most {limits}, got {beyond} on {len(frames)} frames",
            hint="the export changed what the network computes; do not publish it",
        )
    path = target / str(version) / "model.onnx"
    save_onnx(converted, path)
    write_config(target, path, gpu_precision)
    return differences


def write_config(folder: Path, file: Path, gpu_precision: str = "FP32") -> None:
    """Write `folder`/config.pbtxt for the served file; a server with a GPU and one without take it as it is.

    `gpu_precision` FP16 is a wish to servers with a GPU (`gpu_config`).
    """
    parameters = {"class_names": ",".join(CLASS_NAMES)}
    if gpu_precision != "FP32":
        parameters[PRECISION] = gpu_precision
    config = render_config("detector", file, ServingOptions(parameters=parameters))
    check_config(config, file)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")


def in_order_of(expected: Answers, got: Answers) -> Answers:
    """`got` with its cells in the order of `expected`: the order of nearly equal scores is rounding.

    A cell above a score of .001 has the nearest box of its class, or the nearest at all, as its counterpart. Weaker
    ones may be others altogether, at the end of the best; they are taken as expected, but for the scores by rank.
    """
    arranged = {name: np.array(values) for name, values in expected.items()}
    for image, scores in enumerate(expected["scores"]):
        strong = scores >= _LEAST_SCORE
        apart = np.abs(expected["boxes"][image][strong][:, None] - got["boxes"][image][None]).max(axis=2)
        apart += _OTHER_CLASS * (expected["classes"][image][strong][:, None] != got["classes"][image][None])
        nearest = apart.argmin(axis=1)
        for name in arranged:
            arranged[name][image][strong] = got[name][image][nearest]
        arranged["scores"][image][~strong] = got["scores"][image][~strong]
    return arranged


def compare(reference: Predict, other: Predict, frames: LabelledImages, size: InputSize) -> dict[str, float]:
    """Largest differences of boxes (px of the input) and scores, and of average precision, over real frames.

    Every cell above a score of .001 is held against the nearest box of its class; the order of equal scores is
    no difference. What is not a number differs by NaN. InvalidInputError where there are no frames.
    """
    if not len(frames):
        raise InvalidInputError("export of the detector: expected real frames to compare on, got none")
    rows: list[list[float]] = []
    for image in frames:
        batch = fitted(frames, image, size).pixels[None]
        expected, got = reference(batch), other(batch)
        arranged = in_order_of(expected, got)
        in_order = np.abs(expected["scores"] - got["scores"]).max()
        at_cell = np.abs(expected["scores"] - arranged["scores"]).max()
        apart = np.abs(expected["boxes"] - arranged["boxes"]).max(axis=2)
        apart[expected["classes"] != arranged["classes"]] = np.inf
        looks = np.abs(expected["embeddings"] - arranged["embeddings"]).max() if "embeddings" in expected else 0.0
        # Cells that are weaker than any are not compared; what is not a number would hide there.
        wrong = np.nan if any(not np.isfinite(values).all() for values in got.values()) else 0.0
        rows.append([apart.max() + wrong, np.maximum(at_cell, in_order) + wrong, looks + wrong])
    boxes, scores, embeddings = np.max(rows, axis=0).tolist()
    differences = {"box_difference_px": boxes, "score_difference": scores}
    if "embeddings" in expected:
        differences["embedding_difference"] = embeddings
    if frames.boxes_by_class():
        one, two = (evaluate_network(each, frames, size) for each in (reference, other))
        differences["map50_difference"] = abs(one.map50 - two.map50)
        differences["map50_95_difference"] = abs(one.map50_95 - two.map50_95)
    return differences
