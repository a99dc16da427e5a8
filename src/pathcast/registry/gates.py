"""The gates between a trained model and the place of the champion; each gives a `Verdict` with its numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.special import stdtrit

from pathcast.core.arrays import Int64Array
from pathcast.core.errors import GateFailedError, InvalidInputError, PathcastError
from pathcast.registry.verdicts import REPLAY, SMOKE_TEST, Verdict
from pathcast.serving.replay_diff import CONFIDENCE as REPLAY_CONFIDENCE
from pathcast.serving.replay_diff import ReplayDiff
from pathcast.training.family import Evaluation, Gate, ReplayGate

RESAMPLES = 2000
CONFIDENCE = 0.95
LATENCY_RUNS = 30
SMOKE_REQUESTS = 20
TOLERANCE = 1e-3
"""Of answers: relative and absolute. A family's own export is stricter, in its own units."""

Arrays = Mapping[str, NDArray[Any]]


def metric_gate(gate: Gate, challenger: Evaluation, champion: Evaluation | None, *, seed: int = 0) -> Verdict:
    """Whether the challenger is better on the same held-out samples, by a paired bootstrap over their groups.

    It passes where it is better on the samples as they are, and with 95% confidence not worse by more than the
    gate's tolerance. Whole groups are drawn, the same ones for both, since their samples resemble each other (Field
    and Welsh 2007, Bootstrapping clustered data, J. R. Statist. Soc. B 69, 369-390). The interval is the one-sided t
    interval with the bootstrap's standard error, which is wide where groups are few and a percentile interval would be
    too short (Hesterberg 2015, What Teachers Should Know About the Bootstrap, Am. Stat. 69, 371-386). Without a
    champion there is nothing to beat.
    """
    name, sign = challenger.metric or gate.metric, 1.0 if gate.higher_is_better else -1.0
    value = challenger.metrics[name]
    if champion is None:
        return Verdict("metric", True, f"{name} {value:.4g}; no champion to beat", {name: value})
    if challenger.samples != champion.samples:
        raise InvalidInputError(
            f"{name}: expected both models scored on the same samples, got {challenger.samples} and {champion.samples}"
        )
    if not np.array_equal(challenger.groups, champion.groups):
        raise InvalidInputError(f"{name}: expected both models' samples in the same groups, got different ones")
    before, groups = champion.metrics[name], len(np.unique(challenger.groups))
    gain = sign * (value - before)
    numbers = {name: value, "champion": before, "gain": gain, "groups": float(groups)}
    compared = (
        f"{name} {value:.4g} against the champion's {before:.4g} on {challenger.samples} samples in {groups} "
        f"{'group' if groups == 1 else 'groups'}: "
        f"gain {gain:.4g}"
    )
    if groups < 2:
        reason = f"{compared}, expected 2 groups or more to compare by; take more data, or hold out a larger share"
        return Verdict("metric", False, reason, numbers)
    gains = [
        sign * (challenger.metric_of(chosen) - champion.metric_of(chosen))
        for chosen in _drawn(challenger.groups, np.random.default_rng(seed))
    ]
    reach = float(stdtrit(groups - 1, CONFIDENCE) * np.std(gains) * np.sqrt(groups / (groups - 1)))
    low, high = gain - reach, gain + reach
    passed = bool(gain > 0 and low >= -gate.tolerance)
    reason = (
        f"{compared} [{low:.4g}, {high:.4g}], expected above 0 and not below {-gate.tolerance:g} "
        f"with {CONFIDENCE:.0%} confidence"
    )
    return Verdict("metric", passed, reason, {**numbers, "gain_low": low, "gain_high": high})


def _drawn(groups: Int64Array, random: np.random.Generator) -> Iterator[Int64Array]:
    """RESAMPLES times the samples (indices) of as many groups as there are, drawn with replacement."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for _ in range(RESAMPLES):
        chosen = random.integers(0, len(sizes), len(sizes))
        ends = np.cumsum(sizes[chosen])
        yield order[np.arange(ends[-1]) + np.repeat(starts[chosen] + sizes[chosen] - ends, sizes[chosen])]


def latency_gate(gate: Gate, onnx_file: Path, examples: Arrays) -> Verdict:
    """Whether a request of `gate.batch` samples stays within its budget on one core, in the fastest of 30 runs.

    What counts is the core's time, and of the fastest run: that is what the model needs, whatever else the machine
    is doing.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
    batch = {
        name: np.resize(values, (gate.batch, *values.shape[1:])).astype(values.dtype, copy=False)
        for name, values in examples.items()
    }
    session.run(None, batch)
    seconds = []
    for _ in range(LATENCY_RUNS):
        started = time.process_time()
        session.run(None, batch)
        seconds.append(time.process_time() - started)
    milliseconds = 1000 * min(seconds)
    return Verdict(
        "latency",
        milliseconds <= gate.latency_ms,
        f"{milliseconds:.2f} ms for {gate.batch} on one core, expected at most {gate.latency_ms:g} ms",
        {"latency_ms": milliseconds, "budget_ms": gate.latency_ms},
    )


def parity_gate(got: Arrays, expected: Arrays, samples: int) -> Verdict:
    """Whether an exported file's answers are the trained network's, on so many samples."""
    try:
        share = _share_of_tolerance(got, expected)
    except GateFailedError as error:
        return Verdict("parity", False, error.message)
    reason = f"{share:.3g} of what is allowed ({TOLERANCE:g} relative and absolute) over {samples} samples"
    return Verdict("parity", share <= 1.0, reason, {"share_of_tolerance": share, "samples": float(samples)})


def smoke_gate(endpoints: Sequence[Callable[[], Arrays]], expected: Arrays) -> Verdict:
    """Whether every live endpoint, asked 20 times, gives the answers that the file itself gives, each time.

    A request that is refused or not answered counts as one that is answered wrong.
    """
    shares, faults = [0.0], []
    for ask in endpoints:
        for _ in range(SMOKE_REQUESTS):
            try:
                shares.append(_share_of_tolerance(ask(), expected))
                if not shares[-1] <= 1.0:
                    faults.append(f"expected the file's own answers, got {shares[-1]:.3g} of the difference allowed")
            except PathcastError as error:
                faults.append(error.message)
    requests = len(endpoints) * SMOKE_REQUESTS
    numbers = {
        "requests": float(requests),
        "error_rate": len(faults) / requests,
        "share_of_tolerance": float(np.max(shares)),
    }
    if faults:
        return Verdict(SMOKE_TEST, False, f"{len(faults)} of {requests} requests failed; first: {faults[0]}", numbers)
    reason = f"{requests} requests, each answered as by the file itself ({TOLERANCE:g} relative and absolute)"
    return Verdict(SMOKE_TEST, True, reason, numbers)


def _share_of_tolerance(got: Arrays, expected: Arrays) -> float:
    """The largest difference as a share of what is allowed, NaN where a value is none.

    Raises GateFailedError where an output is missing or has another shape.
    """
    shares = [0.0]
    for name, wanted in expected.items():
        answer = got.get(name)
        if answer is None or answer.shape != wanted.shape:
            shape = "nothing" if answer is None else answer.shape
            raise GateFailedError(f"output {name}: expected shape {wanted.shape}, got {shape}")
        exact = wanted.astype(np.float64)
        shares.append(float((np.abs(answer - exact) / (TOLERANCE * (1.0 + np.abs(exact)))).max(initial=0.0)))
    return float(np.max(shares))


def replay_gate(gate: ReplayGate, diff: ReplayDiff) -> Verdict:
    """Whether recordings through the challenger come out no worse than through the champion."""
    numbers = {
        "frames": float(diff.frames),
        "detections_lost": float(diff.detections.lost),
        "detections_added": float(diff.detections.added),
        "windows": float(len(diff.errors)),
    }
    kept, lost = diff.kept, False
    reasons = [f"{diff.frames} frames"]
    if kept is not None:
        lost = kept < gate.least_kept
        numbers["detections_kept"] = kept
        if gate.least_kept:
            reasons.append(f"{kept:.1%} of the champion's detections kept, expected {gate.least_kept:.0%}")
    worse = False
    if len(diff.errors):
        before, after = (side.mean(axis=0).tolist() for side in (diff.errors.champion, diff.errors.challenger))
        low = float(diff.errors.gain_interval()[0][0])
        worse = low < -gate.tolerance
        numbers |= {"champion_ade": before[0], "challenger_ade": after[0], "champion_fde": before[1]}
        numbers |= {"challenger_fde": after[1], "gain_low": low}
        reasons.append(
            f"ADE/FDE {after[0]:.4g}/{after[1]:.4g} against the champion's {before[0]:.4g}/{before[1]:.4g} on the same "
            f"{len(diff.errors)} forecasts: "
            f"with {REPLAY_CONFIDENCE:.0%} confidence at most {max(0.0, -low):.1%} worse, "
            f"expected at most {gate.tolerance:.0%}"
        )
    else:
        reasons.append("no forecast of both was scored in them")
    return Verdict(REPLAY, not (lost or worse), "; ".join(reasons), numbers)
