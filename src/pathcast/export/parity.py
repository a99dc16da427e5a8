"""Whether an exported file computes what the network computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from pathcast.core.errors import GateFailedError, InvalidInputError

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest absolute difference of each output over `samples` samples."""

    samples: int
    differences: Mapping[str, float]

    @property
    def largest(self) -> float:
        return max(self.differences.values())


def open_session(onnx_model: Path | bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """The ONNX model in onnxruntime on `threads` CPU threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    source = onnx_model if isinstance(onnx_model, bytes) else str(onnx_model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def file_answers(onnx_model: Path | bytes, inputs: Arrays, names: Sequence[str] = ()) -> Arrays:
    """What the model answers, by name; InvalidInputError where it has no output of one of the `names` (none: all)."""
    session = open_session(onnx_model)
    known = [output.name for output in session.get_outputs()]
    if absent := sorted(set(names) - set(known)):
        raise InvalidInputError(f"expected outputs {', '.join(names)}, got {', '.join(known)}: {absent} missing")
    wanted = list(names or known)
    return dict(zip(wanted, session.run(wanted, dict(inputs)), strict=True))


def check_parity(
    reference: Callable[[Arrays], Arrays], onnx_model: Path | bytes, inputs: Arrays, *, tolerance: Mapping[str, float]
) -> Parity:
    """Compare the outputs named in `tolerance` on the same inputs.

    Raises GateFailedError when a difference is above its tolerance (in the output's unit) or a value is not
    finite, InvalidInputError when there is nothing to compare.
    """
    samples = min((len(array) for array in inputs.values()), default=0)
    if samples == 0 or not tolerance:
        raise InvalidInputError(f"parity: expected samples and outputs to compare, got {samples} and {len(tolerance)}")
    expected = reference(inputs)
    names = list(tolerance)
    got = dict(zip(names, open_session(onnx_model).run(names, dict(inputs)), strict=True))
    differences: dict[str, float] = {}
    for name, limit in tolerance.items():
        wanted, actual = np.asarray(expected[name], np.float64), np.asarray(got[name], np.float64)
        if wanted.shape != actual.shape:
            raise GateFailedError(f"parity: output {name}: expected shape {wanted.shape}, got {actual.shape}")
        difference = float(np.abs(wanted - actual).max())
        if not difference <= limit:
            raise GateFailedError(
                f"parity: output {name}: expected differences of at most {limit:g} over {samples} samples, "
                f"got {difference:g}",
                hint="the export changed what the network computes; do not publish it",
            )
        differences[name] = difference
    return Parity(samples, differences)
