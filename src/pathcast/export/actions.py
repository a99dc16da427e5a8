"""A trained action recogniser as served models: `frame_selector` and `action_recogniser`, joined to `actions`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import onnx

from pathcast.core.arrays import Float32Array, Int64Array, UInt8Array
from pathcast.core.errors import GateFailedError
from pathcast.export.ensemble import CONFIG, Part, write_ensemble
from pathcast.export.gpu_config import asking_fp16
from pathcast.export.onnx import to_onnx
from pathcast.export.parity import Arrays, check_parity, open_session
from pathcast.export.quantize import in_eight_bits
from pathcast.export.triton_config import ServingOptions, parse_config
from pathcast.recognition.action_settings import FRAMES, PROBABILITIES, SCORES
from pathcast.recognition.classification import balanced_accuracy
from pathcast.recognition.frame_quality import positions

PARTS = (
    Part("frame_selector", (FRAMES,), (SCORES,)),
    Part("action_recogniser", (FRAMES, SCORES), (PROBABILITIES,)),
)
OUTPUTS = (PROBABILITIES, SCORES)
PARITY_TOLERANCE = {PROBABILITIES: 1e-3, SCORES: 1e-4}

IN_FLOAT = ("/stem", "/dark2.")
"""Stages of the backbone that stay in float32: a picture of changes is grey nearly everywhere, so what tells in its
first maps would lie in a few of 256 steps."""

ACCURACY_DROP = 0.02
CALIBRATION_CLIPS = 16
CORRECTION_CLIPS = 64


def write_actions(
    model: keras.Model, clips: UInt8Array, target: Path, parameters: Mapping[str, str] | None = None
) -> Mapping[str, float]:
    """Write the ensemble's folder; nothing is written where the file differs from the network on the `clips`.

    `parameters` are facts for clients. Returns the largest differences; GateFailedError where one is too large.
    """
    whole = to_onnx(model, OUTPUTS, batch="N")

    def reference(inputs: Arrays) -> Arrays:
        return {name: np.asarray(values) for name, values in model(inputs[FRAMES], training=False).items()}

    parity = check_parity(reference, whole.SerializeToString(), {FRAMES: clips}, tolerance=PARITY_TOLERANCE)
    write_files(whole, target, parameters)
    return parity.differences


def quantise_actions(
    file: Path, target: Path, calibration: UInt8Array, judged: UInt8Array, labels: Int64Array
) -> Mapping[str, float]:
    """Write `target` with the `file` of a whole network in eight bits, scales from `calibration` clips.

    The backbone alone is quantised, from its third stage on: the selector's choice must not move. By how much rounding
    moves the log odds in the mean is taken out again (`_unbias`). Returns the balanced accuracies on the `judged`
    clips; GateFailedError, and nothing is written, where more than 2 points are lost.
    """
    graph = onnx.load(str(file)).graph
    kept = [
        node.name for node in graph.node if "backbone" not in node.name or any(stage in node.name for stage in IN_FLOAT)
    ]
    # Scales of all clips at once would take gigabytes; a few say enough, of all classes: clips lie class by class.
    chosen = positions(len(calibration), CALIBRATION_CLIPS)
    small = in_eight_bits(file, (np.array(calibration[row])[None] for row in chosen), kept)
    _unbias(small, file, calibration[positions(len(calibration), CORRECTION_CLIPS)])
    before, after = (_balanced(model, judged, labels) for model in (file, small.SerializeToString()))
    if before - after > ACCURACY_DROP:
        raise GateFailedError(
            f"int8: expected to lose at most {ACCURACY_DROP:.1%} of balanced accuracy on {len(labels)} clips, "
            f"got {after:.2%} for {before:.2%}",
            hint="calibrate with clips of the same cameras, or serve float32",
        )
    parameters = parse_config((file.parents[1] / CONFIG).read_text(encoding="utf-8")).parameters
    write_files(small, target, {name: value.string_value for name, value in parameters.items()})
    return {"balanced_accuracy_float32": before, "balanced_accuracy": after}


def ask_fp16(target: Path) -> None:
    """Make the recogniser in an exported folder ask GPU servers for FP16; the selector's choice must not move."""
    config = target / PARTS[1].name / CONFIG
    config.write_text(asking_fp16(config.read_text(encoding="utf-8")), encoding="utf-8")


def _unbias(small: onnx.ModelProto, file: Path, clips: UInt8Array) -> None:
    """Add to the last bias of `small` what its log probabilities of `clips` lack, in the mean, to those of `file`.

    Many small errors of rounding add up to a shift (Nagel et al., 2019, arXiv:1906.04721, section 4.2).
    """
    before, after = (np.log(_probabilities(model, clips) + 1e-7) for model in (file, small.SerializeToString()))
    inputs = {name: node.input for node in small.graph.node for name in node.output}
    (logits,) = inputs[PROBABILITIES]
    (bias,) = (each for each in small.graph.initializer if each.name in inputs[logits])
    corrected = onnx.numpy_helper.to_array(bias) + (before - after).mean(axis=0)
    bias.CopyFrom(onnx.numpy_helper.from_array(corrected.astype(np.float32), bias.name))


def _balanced(model: Path | bytes, clips: UInt8Array, labels: Int64Array) -> float:
    return balanced_accuracy(_probabilities(model, clips).argmax(axis=1), labels)


def _probabilities(model: Path | bytes, clips: UInt8Array) -> Float32Array:
    """(n, c) of clips (n, t, s, s, 3), one after the other."""
    session = open_session(model)
    return np.concatenate([session.run([PROBABILITIES], {FRAMES: np.array(clip[None])})[0] for clip in clips])


def write_files(whole: onnx.ModelProto, target: Path, parameters: Mapping[str, str] | None = None) -> None:
    """Write the folder of an ensemble that computes what `whole` does; the `parameters` are its metadata, too."""
    onnx.helper.set_model_props(whole, dict(parameters or {}))
    write_ensemble("actions", whole, PARTS, target, ServingOptions(parameters=dict(parameters or {})))
