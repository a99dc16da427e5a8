"""Scores of tracker results, computed by TrackEval, the reference implementation.

HOTA (Luiten et al. 2021), MOTA (Bernardin and Stiefelhagen 2008) and IDF1 (Ristani et al. 2016) under
the rules of MOT15: boxes match at an IoU of 0.5 (HOTA averages over 0.05 … 0.95), ground truth of
confidence 0 is left out, there is one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathcast.core import InvalidInputError, PathcastError
from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.boxes import intersection_over_union
from pathcast.tracking.mot_format import MotBoxes


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """`hota`, `mota` and `idf1` in percent (`mota` may be negative), the others are counts."""

    hota: float
    mota: float
    idf1: float
    id_switches: int
    fragments: int
    false_positives: int
    misses: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSequence:
    """Ground truth and results of one sequence of `length` frames."""

    ground_truth: MotBoxes
    results: MotBoxes
    length: int


def evaluate(sequences: Mapping[str, ScoredSequence]) -> tuple[TrackingScores, dict[str, TrackingScores]]:
    """Scores over all sequences (pooled as the benchmark does, not averaged), and of each.

    Raises InvalidInputError where an id stands twice in a frame or a frame lies outside the sequence, and
    PathcastError where TrackEval is not installed.
    """
    if not sequences:
        raise InvalidInputError("evaluate: expected one sequence or more, got none")
    metrics = _metrics()
    data = {name: _metric_data(name, sequence) for name, sequence in sequences.items()}
    raw = {kind: {name: metric.eval_sequence(data[name]) for name in data} for kind, metric in metrics.items()}
    combined = {kind: metric.combine_sequences(raw[kind]) for kind, metric in metrics.items()}
    return _scores(combined), {name: _scores({kind: raw[kind][name] for kind in metrics}) for name in data}


def _metrics() -> dict[str, Any]:
    try:
        from trackeval.metrics import CLEAR, HOTA, Identity
    except ImportError as error:
        raise PathcastError(
            "tracker scores need TrackEval, which is not installed", hint="pip install 'pathcast[train]'"
        ) from error
    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    return {"hota": HOTA(), "clear": CLEAR(quiet), "identity": Identity(quiet)}


def _scores(results: Mapping[str, Mapping[str, Any]]) -> TrackingScores:
    clear = results["clear"]
    return TrackingScores(
        hota=100 * float(np.mean(results["hota"]["HOTA"])),
        mota=100 * float(clear["MOTA"]),
        idf1=100 * float(results["identity"]["IDF1"]),
        id_switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
        false_positives=int(clear["CLR_FP"]),
        misses=int(clear["CLR_FN"]),
    )


def _metric_data(name: str, sequence: ScoredSequence) -> dict[str, Any]:
    """The dictionary that TrackEval's metrics read: ids from 0 without holes, one entry per frame."""
    truth = sequence.ground_truth.select(sequence.ground_truth.confidences != 0)
    results = sequence.results
    for kind, boxes in (("ground truth", truth), ("results", results)):
        _check_boxes(f"{name}: {kind}", boxes, sequence.length)
    truth_ids, truth_numbers = np.unique(truth.ids, return_inverse=True)
    result_ids, result_numbers = np.unique(results.ids, return_inverse=True)
    truth_slices, result_slices = truth.by_frame(sequence.length), results.by_frame(sequence.length)

    def per_frame(values: Int64Array, slices: list[slice]) -> list[Int64Array]:
        return [values[rows] for rows in slices]

    similarity: list[Float64Array] = [
        intersection_over_union(truth.xyxy[truth_rows], results.xyxy[result_rows])
        for truth_rows, result_rows in zip(truth_slices, result_slices, strict=True)
    ]
    return {
        "num_timesteps": sequence.length,
        "num_gt_ids": len(truth_ids),
        "num_tracker_ids": len(result_ids),
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(results),
        "gt_ids": per_frame(truth_numbers, truth_slices),
        "tracker_ids": per_frame(result_numbers, result_slices),
        "similarity_scores": similarity,
    }


def _check_boxes(name: str, boxes: MotBoxes, length: int) -> None:
    if len(boxes) and not (1 <= boxes.frames[0] and boxes.frames[-1] <= length):
        raise InvalidInputError(f"{name}: expected frames 1 to {length}, got {boxes.frames[0]} to {boxes.frames[-1]}")
    pairs, counts = np.unique(np.stack((boxes.frames, boxes.ids)), axis=1, return_counts=True)
    if (counts > 1).any():
        frame, identity = pairs[:, np.argmax(counts > 1)]
        raise InvalidInputError(f"{name}: id {identity} stands more than once in frame {frame}")
