"""Convolutions in eight bits; a detector's are accepted only where the scores stay.

Weights are int8 with a scale per output channel, activations uint8 with scales from real frames (Jacob et al., 2018,
arXiv:1712.05877; ONNX's quantize-dequantize form, https://onnxruntime.ai/docs/performance/model-optimizations/
quantization.html). What follows the predictions, boxes, scores and the choice of the best, stays in float32: in eight
bits it would move boxes by pixels.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.samples import InputSize, fitted
from pathcast.export.parity import open_session
from pathcast.training.predictors import evaluate_network, onnx_predictor

MAP_DROP = 0.01
CALIBRATION_FRAMES = 64
QUANTISED = ("Conv", "Relu", "MaxPool", "Concat", "Resize", "Add")
"""Convolutions, and what lies between them: a step in float32 between two of eight bits costs more than it keeps."""

_LATENCY_RUNS, _WARM_UP = 60, 3


@dataclass(frozen=True, slots=True)
class Quantised:
    """What eight bits cost and gained on so many `images`.

    Average precisions are fractions, times in ms of one thread, side by side.
    """

    images: int
    model: onnx.ModelProto
    map50: float
    map50_before: float
    map50_95: float
    map50_95_before: float
    ms: float
    ms_before: float

    def drops(self) -> Mapping[str, float]:
        """How much average precision eight bits lose."""
        return {"map50": self.map50_before - self.map50, "map50_95": self.map50_95_before - self.map50_95}

    def accepted(self, map_drop: float = MAP_DROP) -> bool:
        """Whether AP50 and AP50-95 drop by `map_drop` at the most."""
        return all(drop <= map_drop for drop in self.drops().values())

    def require_accepted(self, map_drop: float = MAP_DROP) -> None:
        """Raise GateFailedError where they drop by more."""
        if not self.accepted(map_drop):
            raise GateFailedError(
                f"int8: expected drops of at most {map_drop} on {self.images} images, got {dict(self.drops())}",
                hint="calibrate with frames of the same cameras, or serve float32",
            )

    def figures(self) -> Mapping[str, float]:
        """Plain numbers for JSON and for the model card."""
        return {
            "accepted": self.accepted(),
            "map50": self.map50,
            "map50_float32": self.map50_before,
            "map50_95": self.map50_95,
            "map50_95_float32": self.map50_95_before,
            "ms": self.ms,
            "ms_float32": self.ms_before,
            "ratio": self.ms / self.ms_before,
        }


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """The calibration samples, batch by batch, for the file's one input."""

    def __init__(self, file: Path, batches: Iterable[UInt8Array]) -> None:
        self._name = onnx.load(str(file)).graph.input[0].name
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


def quantise_detector(file: Path, calibration: LabelledImages, judged: LabelledImages) -> Quantised:
    """The served `file` in eight bits, calibrated on frames and measured on others: not yet accepted.

    Raises InvalidInputError where a set is empty or the file is not a detector.
    """
    if not len(calibration) or not judged.boxes_by_class():
        raise InvalidInputError("quantisation: expected frames to calibrate with and labelled ones to judge on")
    _, height, width, _ = open_session(file).get_inputs()[0].shape
    size = (width, height)
    model = _quantised(file, calibration, size)
    data = model.SerializeToString()
    before = evaluate_network(onnx_predictor(file), judged, size)
    after = evaluate_network(onnx_predictor(data), judged, size)
    ms_before, ms = (float(np.median(times)) for times in side_by_side(file, data))
    return Quantised(len(judged), model, after.map50, before.map50, after.map50_95, before.map50_95, ms, ms_before)


def side_by_side(*files: Path | bytes, runs: int = _LATENCY_RUNS) -> list[Float64Array]:
    """Processor time (runs,) in ms of a request of one image of noise on one thread, each of the files in turn.

    Where nothing else runs that is the time by the clock; other work then changes the figures least.
    """
    sessions = [open_session(file) for file in files]
    random = np.random.default_rng(0)
    shapes = [(1, *session.get_inputs()[0].shape[1:]) for session in sessions]
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    times = np.zeros((len(files), runs))
    for number in range(-_WARM_UP, runs):
        for row, session in enumerate(sessions):
            # One thread is this one.
            started = time.thread_time()
            session.run(None, {"images": images[row]})
            times[row, max(number, 0)] = 1000 * (time.thread_time() - started)
    return list(times)


def _quantised(file: Path, calibration: LabelledImages, size: InputSize) -> onnx.ModelProto:
    step = max(len(calibration) // CALIBRATION_FRAMES, 1)
    frames = (fitted(calibration, image, size).pixels[None] for image in calibration.images[::step])
    return in_eight_bits(file, frames, after_predictions(onnx.load(str(file)).graph))


def in_eight_bits(file: Path, batches: Iterable[UInt8Array], left_out: Sequence[str]) -> onnx.ModelProto:
    """The served `file` in eight bits, but for the nodes in `left_out`; `batches` of its input give the scales."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        # onnxruntime advises a preparation step that this export does not need, on the root logger.
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            quantize_static(
                str(file),
                str(target),
                _Batches(file, batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=list(left_out),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.disable(before)
        model = onnx.load(str(target))
    model.producer_name = "pathcast"
    return model


def after_predictions(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes behind the last convolutions: all that no convolution follows."""
    producers = {name: node for node in graph.node for name in node.output}
    feeding: set[str] = set()
    stack = [name for node in graph.node if node.op_type == "Conv" for name in node.input]
    while stack:
        node = producers.get(stack.pop())
        if node is not None and node.name not in feeding:
            feeding.add(node.name)
            stack += node.input
    return [node.name for node in graph.node if node.name not in feeding and node.op_type != "Conv"]
