"""Strict windows of 8 observed and 12 future steps, the samples that forecasters learn from and are scored on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, frozen_array, require_finite
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS, METRES, OBSERVED_STEPS, Trajectory, check_units, places_of
from pathcast.forecasting.neighbours import NEIGHBOUR_VALUES, NEIGHBOURS, neighbours_along, scaled
from pathcast.forecasting.units import metres_per

WINDOW_STEPS = OBSERVED_STEPS + FUTURE_STEPS

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows cut from tracks; parallel arrays, one row per window.

    `paths` (n, 20, 2) float64 in `units`, consecutive steps 0.4 s apart: the first 8 are observed, the
    other 12 are the future. `tracks` (n,) int64: windows of one track share a number, so that a split can
    keep them together. `recordings` (n,) int64: so do windows of one recording or camera, so that a large one
    need not drown a small one; all one recording where none is given. `neighbours` (n, 8, 5) float32: who is near at
    the last observed step, as `nearest_others` says it. `neighbours_backwards`: who is near at the last observed step
    of the window played backwards, for learning alone. Nobody where not given.
    """

    paths: Float64Array
    tracks: Int64Array
    units: str
    recordings: Int64Array
    neighbours: Float32Array
    neighbours_backwards: Float32Array

    def __init__(
        self,
        paths: npt.ArrayLike,
        tracks: npt.ArrayLike,
        units: str,
        recordings: npt.ArrayLike | None = None,
        neighbours: npt.ArrayLike | None = None,
        neighbours_backwards: npt.ArrayLike | None = None,
    ) -> None:
        points = frozen_array("paths", paths, np.float64, (None, WINDOW_STEPS, 2))
        require_finite("paths", points)
        object.__setattr__(self, "paths", points)
        object.__setattr__(self, "tracks", frozen_array("tracks", tracks, np.int64, (len(points),)))
        object.__setattr__(self, "units", check_units(units))
        numbers = np.zeros(len(points), np.int64) if recordings is None else recordings
        object.__setattr__(self, "recordings", frozen_array("recordings", numbers, np.int64, (len(points),)))
        shape = (len(points), NEIGHBOURS, NEIGHBOUR_VALUES)
        for name, given in (("neighbours", neighbours), ("neighbours_backwards", neighbours_backwards)):
            others = frozen_array(name, np.zeros(shape) if given is None else given, np.float32, shape)
            require_finite(name, others)
            object.__setattr__(self, name, others)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def observed(self) -> Float64Array:
        """(n, 8, 2): where a forecaster sees the walker."""
        return self.paths[:, :OBSERVED_STEPS]

    @property
    def future(self) -> Float64Array:
        """(n, 12, 2): what came."""
        return self.paths[:, OBSERVED_STEPS:]

    def inputs(self) -> dict[str, Float32Array]:
        """What a forecaster is told, by the served names: `observed` and `neighbours`, in metres."""
        metres = self.in_metres()
        return {"observed": metres.observed.astype(np.float32), "neighbours": metres.neighbours}

    def select(self, rows: npt.NDArray[np.bool_] | Int64Array) -> Windows:
        """The windows under a boolean mask, or at the given indices in their order."""
        return Windows(units=self.units, **{name: values[rows] for name, values in self.arrays().items()})

    def arrays(self) -> dict[str, Any]:
        """The parallel arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "units"}

    def in_metres(self) -> Windows:
        """The same windows as the network sees them; see `metres_per`."""
        if self.units == METRES:
            return self
        metres = metres_per(self.units)
        others = scaled(self.neighbours, metres), scaled(self.neighbours_backwards, metres)
        return Windows(self.paths * metres, self.tracks, METRES, self.recordings, *others)

    def faster(self, pace: float) -> Windows:
        """The windows of the same tracks played `pace` ≥ 1 times as fast: points `pace` steps apart, interpolated.

        Windows that follow each other step on step are joined first, since a track must live longer for it: few
        may be left, or none. So they must come in the order of their tracks, cut with stride 1; others are not joined.
        Each row stays with its track and recording. Neighbours are those of the last step before, walked on.

        >>> straight = np.arange(44.0).reshape(22, 2)
        >>> windows = Windows([straight[:20], straight[1:21], straight[2:]], [4, 4, 4], "m")
        >>> windows.faster(1.1).paths[0, -1].round(1).tolist()
        [41.8, 42.8]
        """
        follows = (self.tracks[1:] == self.tracks[:-1]) & (self.paths[1:, :-1] == self.paths[:-1, 1:]).all(axis=(1, 2))
        edges = [0, *(np.flatnonzero(~follows) + 1), len(self)] if len(self) else []
        parts = [self.select(np.zeros(0, np.int64))]
        for first, end in pairwise(edges):
            points = np.concatenate([self.paths[first], self.paths[first + 1 : end, -1]])
            starts = np.arange(np.floor(len(points) - pace * (WINDOW_STEPS - 1) + _ROUNDING))
            moments = starts[:, None] + pace * np.arange(WINDOW_STEPS)
            before = np.clip(moments.astype(np.int64), 0, len(points) - 2)
            part = (moments - before)[..., None]
            paths = points[before] * (1 - part) + points[before + 1] * part
            rows = np.full(len(starts), first)
            last, last_backwards = moments[:, OBSERVED_STEPS - 1], moments[:, FUTURE_STEPS]
            known, known_backwards = np.floor(last).astype(np.int64), np.ceil(last_backwards).astype(np.int64)
            others = self.neighbours[first + known - OBSERVED_STEPS + 1]
            others_backwards = self.neighbours_backwards[first + known_backwards - FUTURE_STEPS]
            parts.append(
                Windows(
                    paths,
                    self.tracks[rows],
                    self.units,
                    self.recordings[rows],
                    _walked_on(others, last - known, pace),
                    _walked_on(others_backwards, known_backwards - last_backwards, pace),
                )
            )
        return _joined(parts)

    def split_by_track(self, held_out: float, seed: int) -> tuple[Windows, Windows]:
        """Two sets that share no track, the second with about `held_out` of the tracks and at least one.

        Raises InvalidInputError when there are fewer than two tracks.
        """
        ids = np.unique(self.tracks)
        if len(ids) < 2:
            raise InvalidInputError(
                f"split by track: expected windows of 2 tracks or more, got {len(ids)}",
                hint="collect more tracks that live for 20 steps (8 s)",
            )
        count = min(max(round(len(ids) * held_out), 1), len(ids) - 1)
        chosen = np.random.default_rng(seed).permutation(ids)[:count]
        mask = np.isin(self.tracks, chosen)
        return self.select(~mask), self.select(mask)

    def folds_by_track(self, k: int, seed: int) -> list[tuple[Windows, Windows]]:
        """K pairs (to learn from, held out) for cross-validation; every window is held out once.

        All windows of a track are in one fold. Tracks are dealt out in random order, the ones with most
        windows first, each to the fold with the fewest windows so far. Raises InvalidInputError when k is
        below 2 or there are fewer tracks than folds.
        """
        if k < 2:
            raise InvalidInputError(f"folds: expected 2 or more, got {k}")
        _, numbers, sizes = np.unique(self.tracks, return_inverse=True, return_counts=True)
        if len(sizes) < k:
            raise InvalidInputError(
                f"folds: expected windows of {k} tracks or more, one for each fold, got {len(sizes)}",
                hint="ask for fewer folds, or collect more tracks that live for 20 steps (8 s)",
            )
        order = np.random.default_rng(seed).permutation(len(sizes))
        fold_of_track = np.empty(len(sizes), dtype=np.int64)
        filled = [0] * k
        for track in order[np.argsort(-sizes[order], kind="stable")]:
            fold_of_track[track] = fold = filled.index(min(filled))
            filled[fold] += int(sizes[track])
        fold_of_window = fold_of_track[numbers]
        return [(self.select(fold_of_window != fold), self.select(fold_of_window == fold)) for fold in range(k)]


def cut_windows(
    trajectories: Iterable[Trajectory], *, everyone: Sequence[Trajectory] | None = None, stride: int = 1
) -> Windows:
    """Every window of 20 consecutive steps that `window_starts` finds, in the order of `trajectories`.

    Trajectories of one camera and track id (a track with gaps) share a track number, those of one camera a
    recording's. Who of `everyone` is seen by that camera is a neighbour, however short; they are what `trajectories` or
    parts of them were chosen from, or these alone. Raises InvalidInputError when there is no such window, or when units
    are mixed.
    """
    if stride < 1:
        raise InvalidInputError(f"stride: expected 1 or more, got {stride}")
    given = list(trajectories)
    units = {trajectory.units for trajectory in given}
    if len(units) > 1:
        raise InvalidInputError(f"windows: expected trajectories in one unit, got {sorted(units)}")
    starts = [window_starts(trajectory, stride) for trajectory in given]
    if not any(map(len, starts)):
        lengths = list(map(len, given))
        longest = f"the longest of {len(lengths)} trajectories has {max(lengths)}" if lengths else "no trajectory given"
        raise InvalidInputError(
            f"empty selection: expected at least one trajectory of {WINDOW_STEPS} consecutive steps that is seen at "
            f"the {OBSERVED_STEPS}th of them, {longest}",
            hint="widen the time range or the choice of cameras and classes",
        )
    tracks: dict[tuple[str, int], int] = {}
    cameras: dict[str, int] = {}
    numbers = [
        (
            tracks.setdefault((each.camera_id, each.track_id), len(tracks)),
            cameras.setdefault(each.camera_id, len(cameras)),
        )
        for each in given
    ]
    track, camera = np.repeat(numbers, list(map(len, starts)), axis=0).T
    around = given if everyone is None else everyone
    first = np.concatenate([place + start for place, start in zip(places_of(given, around), starts, strict=True)])
    positions = np.concatenate([each.positions for each in around])
    return Windows(
        positions[first[:, None] + np.arange(WINDOW_STEPS)],
        track,
        units.pop(),
        camera,
        neighbours_along(around)[first + OBSERVED_STEPS - 1],
        neighbours_along(around, backwards=True)[first + FUTURE_STEPS],
    )


def window_starts(trajectory: Trajectory, stride: int = 1) -> Int64Array:
    """The numbers of the positions, every `stride` of them, that begin a window of 20 steps: (n,), from 0.

    Only of windows whose walker was seen at the last observed step: in a gap that was bridged the place tells where the
    walker came out of it, and live nobody is forecast there.
    """
    first = np.arange(0, len(trajectory) - WINDOW_STEPS + 1, stride)
    return first[trajectory.seen[first + OBSERVED_STEPS - 1]]


def concatenate(parts: Sequence[Windows]) -> Windows:
    """All windows of `parts` as one set; tracks and recordings of different parts stay apart."""
    if not parts:
        raise InvalidInputError("concatenate: expected at least one set of windows, got none")
    units = {part.units for part in parts}
    if len(units) > 1:
        raise InvalidInputError(f"windows: expected sets in one unit, got {sorted(units)}")
    numbers: dict[str, Any] = {
        name: _kept_apart([getattr(part, name) for part in parts]) for name in ("tracks", "recordings")
    }
    return Windows(**{**_joined(parts).arrays(), **numbers, "units": parts[0].units})


def _joined(parts: Sequence[Windows]) -> Windows:
    """All windows of `parts`, one or more of one unit, with the numbers that they have."""
    arrays = [part.arrays() for part in parts]
    return Windows(
        units=parts[0].units, **{name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]}
    )


def _walked_on(neighbours: Float32Array, share: npt.NDArray[Any], pace: float) -> Float64Array:
    """(n, 8, 5) `neighbours` a `share` (n,) of a step later, their steps those of tracks played `pace` as fast."""
    place, steps, there = np.split(neighbours, [2, 4], axis=-1)
    return np.concatenate([place + share[:, None, None] * steps, pace * steps, there], axis=-1)


def _kept_apart(numbers: Sequence[Int64Array]) -> Int64Array:
    """The numbers of all parts, raised so that no two parts share one."""
    raised: list[Int64Array] = []
    offset = 0
    for part in numbers:
        raised.append(part + offset)
        offset += int(part.max(initial=-1)) + 1
    return np.concatenate(raised)
