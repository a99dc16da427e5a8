"""How two replays of one recording differ: detections, tracks, forecasts, and the forecasts' own errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.boxes import intersection_over_union
from pathcast.core.forecast import ForecastScore
from pathcast.core.observation import Observation
from pathcast.forecasting.units import metres_per

SURE_SCORE = 0.5
"""Detections below this score are not compared: nothing is lost where a doubtful one goes."""

MATCH_IOU = 0.5
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Matched:
    """How many things the champion and the challenger have, and how many of them are the same."""

    champion: int
    challenger: int
    both: int

    @property
    def added(self) -> int:
        """Those of the challenger alone."""
        return self.challenger - self.both

    @property
    def lost(self) -> int:
        """Those of the champion alone."""
        return self.champion - self.both

    def __add__(self, other: Matched) -> Matched:
        return Matched(self.champion + other.champion, self.challenger + other.challenger, self.both + other.both)


@dataclass(frozen=True, slots=True, eq=False)
class PairedErrors:
    """Errors of forecasts that both made of one track at one step, and that the track lived to score.

    `champion`, `challenger`, `constant_velocity` (n, 2) float64: ADE and FDE in metres (see `metres_per`), so that
    cameras with and without calibration weigh alike. `tracks` (n,) int64: windows of one track share a number.
    """

    champion: Float64Array
    challenger: Float64Array
    constant_velocity: Float64Array
    tracks: Int64Array

    def __len__(self) -> int:
        return len(self.tracks)

    def gain_interval(self, *, seed: int = 0) -> tuple[Float64Array, Float64Array]:
        """One-sided 95% bounds, low and high, of the share of the champion's ADE and FDE (2,) that is gone.

        Whole tracks are drawn, since the windows of one walker resemble each other (Efron and Tibshirani, An
        Introduction to the Bootstrap, 1993, chapters 8 and 16).
        """
        _, owner = np.unique(self.tracks, return_inverse=True)
        sums = np.zeros((owner.max() + 1, 4))
        np.add.at(sums, owner, np.hstack([self.champion, self.challenger]))
        drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
        totals = sums[drawn].sum(axis=1)
        gains = 1.0 - totals[:, 2:] / np.maximum(totals[:, :2], np.finfo(np.float64).tiny)
        low, high = np.quantile(gains, [1 - CONFIDENCE, CONFIDENCE], axis=0)
        return low, high


@dataclass(frozen=True, slots=True, eq=False)
class ReplayDiff:
    """What changed between two replays of `frames` frames.

    `detections` are those from SURE_SCORE on, matched by class and an IoU of MATCH_IOU. Tracks correspond one to one
    where most of their boxes match; of the `boxes` that match, `agreeing` bear identities that correspond. Forecasts
    are the same where they are of corresponding tracks and of the same step.
    """

    frames: int
    detections: Matched
    tracks: Matched
    boxes: Matched
    agreeing: int
    forecasts: Matched
    errors: PairedErrors

    @property
    def identity_agreement(self) -> float | None:
        """The share of boxes in both replays whose identities correspond; None without one."""
        return self.agreeing / self.boxes.both if self.boxes.both else None

    @property
    def kept(self) -> float | None:
        """The share of the champion's detections that the challenger has too; None without one."""
        return self.detections.both / self.detections.champion if self.detections.champion else None


def compare(champion: Sequence[Observation], challenger: Sequence[Observation]) -> ReplayDiff:
    """The difference of two replays of the same frames of one camera."""
    others = {each.captured_at: each for each in challenger}
    detections, boxes = Matched(0, 0, 0), Matched(0, 0, 0)
    met: dict[tuple[int, int], int] = {}
    for before in champion:
        after = others[before.captured_at]
        found, found_after = _sure(before), _sure(after)
        detections += Matched(len(found[0]), len(found_after[0]), len(_match(found, found_after)[0]))
        first, second = before.tracks, after.tracks
        rows, columns = _match((first.xyxy, first.class_ids), (second.xyxy, second.class_ids))
        boxes += Matched(len(first), len(second), len(rows))
        for one, other in zip(first.track_ids[rows].tolist(), second.track_ids[columns].tolist(), strict=True):
            met[one, other] = met.get((one, other), 0) + 1
    partner = _one_to_one(met)
    tracks = Matched(len(_track_ids(champion)), len(_track_ids(challenger)), len(partner))
    agreeing = sum(met[pair] for pair in partner.items())
    made = [
        {(each.track_id, each.made_at_step) for observation in side for each in observation.forecasts}
        for side in (champion, challenger)
    ]
    same = {(partner[track], step) for track, step in made[0] if track in partner} & made[1]
    forecasts = Matched(len(made[0]), len(made[1]), len(same))
    return ReplayDiff(
        len(champion), detections, tracks, boxes, agreeing, forecasts, _errors(champion, challenger, partner)
    )


def merge(diffs: Sequence[ReplayDiff]) -> ReplayDiff:
    """The difference over several cameras, one or more."""
    total = diffs[0]
    for each in diffs[1:]:
        before, after = total.errors, each.errors
        first_free = int(before.tracks.max(initial=-1)) + 1
        errors = PairedErrors(
            np.concatenate([before.champion, after.champion]),
            np.concatenate([before.challenger, after.challenger]),
            np.concatenate([before.constant_velocity, after.constant_velocity]),
            np.concatenate([before.tracks, after.tracks + first_free]),
        )
        total = ReplayDiff(
            total.frames + each.frames,
            total.detections + each.detections,
            total.tracks + each.tracks,
            total.boxes + each.boxes,
            total.agreeing + each.agreeing,
            total.forecasts + each.forecasts,
            errors,
        )
    return total


_Boxes = tuple[npt.NDArray[np.float32], Int64Array]


def _sure(observation: Observation) -> _Boxes:
    found = observation.detections
    sure = found.scores >= SURE_SCORE
    return found.xyxy[sure], found.class_ids[sure]


def _match(first: _Boxes, second: _Boxes) -> tuple[Int64Array, Int64Array]:
    """Rows of boxes of one class that lie on each other, one to one."""
    overlap = intersection_over_union(first[0].astype(np.float64), second[0].astype(np.float64))
    overlap[first[1][:, None] != second[1]] = 0.0
    overlap[overlap < MATCH_IOU] = 0.0
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    real = overlap[rows, columns] > 0
    return rows[real], columns[real]


def _one_to_one(met: dict[tuple[int, int], int]) -> dict[int, int]:
    """Champion's track → challenger's, so that as many matched boxes as possible correspond."""
    first = sorted({one for one, _ in met})
    second = sorted({other for _, other in met})
    counts = np.zeros((len(first), len(second)), np.int64)
    for (one, other), count in met.items():
        counts[first.index(one), second.index(other)] = count
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return {first[row]: second[column] for row, column in zip(rows, columns, strict=True) if counts[row, column]}


def _track_ids(observations: Sequence[Observation]) -> set[int]:
    return {track for each in observations for track in each.tracks.track_ids.tolist()}


def _errors(
    champion: Sequence[Observation], challenger: Sequence[Observation], partner: dict[int, int]
) -> PairedErrors:
    before, after = _scored(champion), _scored(challenger)
    pairs = [
        (score, after[partner[track], step])
        for (track, step), score in before.items()
        if track in partner and (partner[track], step) in after
    ]
    metres = np.array([metres_per(one.units) for one, _ in pairs])[:, None]

    def in_metres(errors: list[tuple[float | None, float | None]]) -> Float64Array:
        metric: Float64Array = np.array(errors, np.float64).reshape(-1, 2) * metres
        return metric

    return PairedErrors(
        in_metres([(one.ade, one.fde) for one, _ in pairs]),
        in_metres([(other.ade, other.fde) for _, other in pairs]),
        in_metres([(one.constant_velocity_ade, one.constant_velocity_fde) for one, _ in pairs]),
        np.array([one.track_id for one, _ in pairs], np.int64),
    )


def _scored(observations: Sequence[Observation]) -> dict[tuple[int, int], ForecastScore]:
    return {
        (score.track_id, score.made_at_step): score
        for each in observations
        for score in each.scores
        if score.status == "scored"
    }
