"""Which forecasts fall due, and how the past ones turned out: one ledger per camera.

Tracks are sampled on the platform's 0.4 s grid by linear interpolation between the two frames around
each grid step. A track with eight consecutive steps is due for a forecast; twelve steps later the same
samples score it. Time is counted in grid steps, so horizons are exact whatever the frame rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt

from pathcast.core.array_codec import decode_state, encode_state
from pathcast.core.arrays import Float32Array, Float64Array, Int64Array
from pathcast.core.clock import to_nanoseconds
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.track import FrameTracks
from pathcast.core.trajectory import FUTURE_STEPS, OBSERVED_STEPS, STEP_NANOSECONDS
from pathcast.forecasting.grid import MAX_GAP_NANOSECONDS
from pathcast.forecasting.neighbours import nearest_others, scaled
from pathcast.forecasting.units import metres_per

_KIND, _VERSION = "forecast-ledger", 1


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """The tracks to forecast at grid step `step`; parallel rows.

    `observed` (n, 8, 2) float32: positions at steps step - 7 … step, in the camera's `units`. `neighbours` (n, 8, 5):
    who of all tracks is near at `step`, see `nearest_others`; tracks of one step so far are nobody's neighbour.
    """

    step: int
    track_ids: Int64Array
    class_ids: Int64Array
    observed: Float32Array
    neighbours: Float64Array
    units: str

    def in_metres(self) -> tuple[Float32Array, Float32Array]:
        """`observed` and `neighbours` as a forecaster takes them; see `metres_per`."""
        metres = metres_per(self.units)
        neighbours = scaled(self.neighbours, metres).astype(np.float32)
        return self.observed * np.float32(metres), neighbours


@dataclass(frozen=True, slots=True, eq=False)
class _Live:
    """Tracks seen within the gap limit; rows ascend by track id. `history` ends at `last_step`."""

    track_ids: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    class_ids: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    seen_at: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    position: Float64Array = field(default_factory=lambda: np.empty((0, 2)))
    history: Float64Array = field(default_factory=lambda: np.empty((0, OBSERVED_STEPS, 2)))
    steps: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))

    def rows(self, keep: npt.NDArray[np.bool_]) -> _Live:
        return _Live(
            self.track_ids[keep],
            self.class_ids[keep],
            self.seen_at[keep],
            self.position[keep],
            self.history[keep],
            self.steps[keep],
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """The forecasts made at one step; `actual` (n, 12, 2) holds NaN until the positions come."""

    step: int
    model: str
    model_version: str
    track_ids: Int64Array
    class_ids: Int64Array
    origin: Float32Array
    velocity: Float32Array
    paths: Float32Array
    log_probs: Float32Array
    actual: Float64Array

    def rows(self, keep: npt.NDArray[np.bool_]) -> _Pending:
        return replace(
            self,
            track_ids=self.track_ids[keep],
            class_ids=self.class_ids[keep],
            origin=self.origin[keep],
            velocity=self.velocity[keep],
            paths=self.paths[keep],
            log_probs=self.log_probs[keep],
            actual=self.actual[keep],
        )


class ForecastLedger:
    """Resamples one camera's tracks, says which are due, and scores what was forecast.

    Call `advance` once per frame in time order, then `record` with the model's answer for a Due before
    the next frame. A track unseen for more than 2 s has ended: its open forecasts close as `track_ended`,
    and its history starts again should it return. `state` and `restore` are exact.
    """

    def __init__(self, camera_id: str, units: str) -> None:
        self.camera_id = camera_id
        self.units = units
        self._live = _Live()
        self._pending: list[_Pending] = []

    def advance(
        self, captured_at: datetime, tracks: FrameTracks, positions: Float64Array
    ) -> tuple[Due | None, tuple[ForecastScore, ...]]:
        """Take one frame's tracks and their positions (n, 2); return what is due and what was scored.

        Only the newest grid step can be due: an older one would be forecast with knowledge of its future.
        """
        now = to_nanoseconds(captured_at)
        scores = list(self._close_ended(now))
        previous = self._live
        self._live = current = _merge(previous, tracks, positions, now)
        seen = current.seen_at == now
        rows = _rows_of(current.track_ids, previous.track_ids)
        known = rows >= 0
        # A track's first sight counts as its own past, so that a sight exactly on the grid is a sample.
        began_at = np.full(len(rows), now - 1, dtype=np.int64)
        began_from = current.position.copy()
        began_at[known], began_from[known] = previous.seen_at[rows[known]], previous.position[rows[known]]
        due = None
        for step in _steps_between(began_at[seen], now):
            moment = step * STEP_NANOSECONDS
            sampled = seen & (began_at < moment)
            share = (moment - began_at[sampled]) / (now - began_at[sampled])
            points = began_from[sampled] + share[:, None] * (current.position[sampled] - began_from[sampled])
            current.history[sampled, :-1] = current.history[sampled, 1:]
            current.history[sampled, -1] = points
            current.steps[sampled] += 1
            scores.extend(self._score(step, current.track_ids[sampled], points))
            ready = sampled & (current.steps >= OBSERVED_STEPS)
            if ready.any() and now - moment < STEP_NANOSECONDS:
                # Who was missed in a frame comes later than those who were seen at this step in the frame before.
                known_now = current.seen_at // STEP_NANOSECONDS == step
                due = self._due(step, current, ready, known_now & (current.steps > 1))
        return due, tuple(scores)

    def record(
        self, due: Due, paths: Float32Array, log_probs: Float32Array, model: str, model_version: str
    ) -> tuple[Forecast, ...]:
        """Keep the model's answer for `due` until it can be scored.

        `paths` (n, M, 12, 2) in metres, as a forecaster gives them; kept and returned in the camera's units.
        `log_probs` (n, M).
        """
        paths = paths / np.float32(metres_per(self.units))
        origin = due.observed[:, -1]
        velocity = origin - due.observed[:, -2]
        actual = np.full((len(paths), FUTURE_STEPS, 2), np.nan)
        self._pending.append(
            _Pending(
                due.step, model, model_version, due.track_ids, due.class_ids, origin, velocity, paths, log_probs, actual
            )
        )
        return tuple(
            Forecast(
                camera_id=self.camera_id,
                track_id=int(due.track_ids[row]),
                class_id=int(due.class_ids[row]),
                made_at_step=due.step,
                origin=origin[row],
                velocity=velocity[row],
                paths=paths[row],
                log_probs=log_probs[row],
                units=self.units,
                model=model,
                model_version=model_version,
            )
            for row in range(len(paths))
        )

    @property
    def open(self) -> int:
        """The number of forecasts that are neither scored nor closed yet."""
        return sum(len(pending.track_ids) for pending in self._pending)

    def state(self) -> bytes:
        """Everything needed to continue as if nothing had happened."""
        arrays = {f"live.{name}": getattr(self._live, name) for name in _LIVE_FIELDS}
        for index, pending in enumerate(self._pending):
            arrays |= {f"{index}.{name}": getattr(pending, name) for name in _PENDING_FIELDS}
        batches = [[pending.step, pending.model, pending.model_version] for pending in self._pending]
        values = {"camera_id": self.camera_id, "units": self.units, "pending": batches}
        return encode_state(_KIND, _VERSION, values, arrays)

    @classmethod
    def restore(cls, data: bytes) -> ForecastLedger:
        """Undo `state`. Raises InvalidInputError on damaged bytes."""
        values, arrays = decode_state(data, _KIND, _VERSION)
        ledger = cls(values["camera_id"], values["units"])
        ledger._live = _Live(**{name: arrays[f"live.{name}"] for name in _LIVE_FIELDS})
        ledger._pending = [
            _Pending(step, model, version, **{name: arrays[f"{index}.{name}"] for name in _PENDING_FIELDS})
            for index, (step, model, version) in enumerate(values["pending"])
        ]
        return ledger

    def _due(self, step: int, live: _Live, ready: npt.NDArray[np.bool_], moving: npt.NDArray[np.bool_]) -> Due:
        last = live.history[moving, -1]
        neighbours = nearest_others(last, last - live.history[moving, -2])[ready[moving]]
        observed = live.history[ready].astype(np.float32)
        return Due(step, live.track_ids[ready], live.class_ids[ready], observed, neighbours, self.units)

    def _score(self, step: int, track_ids: Int64Array, points: Float64Array) -> Iterator[ForecastScore]:
        """Note where tracks are at `step`, and score the forecasts whose last step this is."""
        still_open = []
        for pending, rows in self._rows_of_pending(track_ids):
            ahead, here = step - pending.step - 1, rows >= 0
            # Beyond the horizon wait only forecasts whose track is out of sight at the moment.
            if 0 <= ahead < FUTURE_STEPS:
                pending.actual[here, ahead] = points[rows[here]]
            if ahead != FUTURE_STEPS - 1:
                still_open.append(pending)
                continue
            yield from self._scores([pending.rows(here)], "scored")
            if not here.all():
                still_open.append(pending.rows(~here))
        self._pending = still_open

    def _rows_of_pending(self, track_ids: Int64Array) -> Iterator[tuple[_Pending, Int64Array]]:
        """Each batch of open forecasts, and where its tracks are in the ascending `track_ids`; -1: not there."""
        if not self._pending:
            return
        sought = np.concatenate([pending.track_ids for pending in self._pending])
        rows = _rows_of(sought, track_ids)
        first = 0
        for pending in self._pending:
            last = first + len(pending.track_ids)
            yield pending, rows[first:last]
            first = last

    def _close_ended(self, now: int) -> Iterator[ForecastScore]:
        """Forget the tracks unseen for too long, and close their forecasts."""
        alive = now - self._live.seen_at <= MAX_GAP_NANOSECONDS
        if alive.all():
            return
        self._live = self._live.rows(alive)
        ended, still_open = [], []
        for pending, rows in self._rows_of_pending(self._live.track_ids):
            lives = rows >= 0
            if not lives.all():
                ended.append(pending.rows(~lives))
            if lives.any():
                still_open.append(pending.rows(lives))
        yield from self._scores(ended, "track_ended")
        self._pending = still_open

    def _scores(self, batches: Sequence[_Pending], status: Literal["scored", "track_ended"]) -> Iterator[ForecastScore]:
        """How the forecasts of `batches` turned out; those with as many paths are computed together."""
        for _, alike in groupby(batches, key=lambda pending: pending.paths.shape[1]):
            together = list(alike)
            steps, errors = _errors(together)
            row = 0
            for pending in together:
                for track_id, class_id in zip(pending.track_ids.tolist(), pending.class_ids.tolist(), strict=True):
                    came = steps[row] > 0
                    yield ForecastScore(
                        camera_id=self.camera_id,
                        track_id=track_id,
                        class_id=class_id,
                        made_at_step=pending.step,
                        model=pending.model,
                        model_version=pending.model_version,
                        units=self.units,
                        status=status,
                        steps=steps[row],
                        **{name: values[row] if came else None for name, values in errors.items()},
                    )
                    row += 1


def _errors(batches: Sequence[_Pending]) -> tuple[list[int], dict[str, list[float]]]:
    """For each forecast of the batches, how many of its steps came, and its errors over these by ForecastScore's names.

    All forecasts have as many paths.
    """
    origin, velocity, log_probs, actual, forecast = (
        np.concatenate([getattr(each, name) for each in batches])
        for name in ("origin", "velocity", "log_probs", "actual", "paths")
    )
    steps = np.isfinite(actual).all(axis=-1).sum(axis=-1)
    ahead = np.arange(1, FUTURE_STEPS + 1)[:, None]
    straight = origin[:, None] + ahead * velocity[:, None]
    paths = np.concatenate([forecast, straight[:, None]], axis=1, dtype=np.float64)
    x, y = np.moveaxis(paths - actual[:, None], -1, 0)
    apart = np.sqrt(x * x + y * y)
    ade, fde = np.full((2, *apart.shape[:2]), np.nan)
    for count in set(steps.tolist()) - {0}:
        rows = steps == count
        ade[rows], fde[rows] = apart[rows, :, :count].mean(axis=-1), apart[rows, :, count - 1]
    every, likely = np.arange(len(steps)), log_probs.argmax(axis=1)
    errors = {}
    for name, each in (("ade", ade), ("fde", fde)):
        errors[name] = each[every, likely].tolist()
        errors[f"best_{name}"] = each[:, :-1].min(axis=1).tolist()
        errors[f"constant_velocity_{name}"] = each[:, -1].tolist()
    return steps.tolist(), errors


_LIVE_FIELDS = ("track_ids", "class_ids", "seen_at", "position", "history", "steps")
_PENDING_FIELDS = ("track_ids", "class_ids", "origin", "velocity", "paths", "log_probs", "actual")


def _merge(live: _Live, tracks: FrameTracks, positions: Float64Array, now: int) -> _Live:
    """The union of the live tracks and this frame's, with the latter's class, time and position."""
    track_ids = np.union1d(live.track_ids, tracks.track_ids)
    old = np.searchsorted(track_ids, live.track_ids)
    new = np.searchsorted(track_ids, tracks.track_ids)
    count = len(track_ids)
    merged = _Live(
        track_ids,
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros((count, 2)),
        np.full((count, OBSERVED_STEPS, 2), np.nan),
        np.zeros(count, np.int64),
    )
    for name in _LIVE_FIELDS[1:]:
        getattr(merged, name)[old] = getattr(live, name)
    merged.class_ids[new], merged.seen_at[new], merged.position[new] = tracks.class_ids, now, positions
    return merged


def _rows_of(sought: Int64Array, track_ids: Int64Array) -> Int64Array:
    """Where each of `sought` is in the ascending `track_ids`; -1: not there."""
    if not len(track_ids):
        return np.full(len(sought), -1)
    rows = np.searchsorted(track_ids, sought)
    rows[track_ids.take(rows, mode="clip") != sought] = -1
    return rows


def _steps_between(began_at: Int64Array, now: int) -> range:
    """The grid steps after the earliest of `began_at`, up to and with `now`."""
    if not len(began_at):
        return range(0)
    return range(int(began_at.min()) // STEP_NANOSECONDS + 1, now // STEP_NANOSECONDS + 1)
