"""Which forecasts fall due, and how the past ones turned out: one ledger per camera.

Tracks are sampled on the platform's 0.4 s grid by linear interpolation between the two frames around
each grid step. A track with eight consecutive steps is due for a forecast; twelve steps later the same
samples score it. Time is counted in grid steps, so horizons are exact whatever the frame rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress, groupby
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

    def joined_by(self, track_ids: Int64Array, now: int) -> _Live:
        """With tracks that were not there, as if seen a nanosecond ago; class and position are yet to be set."""
        count = len(track_ids)
        everyone = np.concatenate((self.track_ids, track_ids))
        order = everyone.argsort()
        return _Live(
            everyone[order],
            np.concatenate((self.class_ids, np.zeros(count, np.int64)))[order],
            np.concatenate((self.seen_at, np.full(count, now - 1)))[order],
            np.concatenate((self.position, np.zeros((count, 2))))[order],
            np.concatenate((self.history, np.full((count, OBSERVED_STEPS, 2), np.nan)))[order],
            np.concatenate((self.steps, np.zeros(count, np.int64)))[order],
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """Forecasts that wait for what comes, in the order made; `actual` (n, 12, 2) holds NaN until it has come."""

    forecasts: tuple[Forecast, ...] = ()
    track_ids: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    made_at_step: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    actual: Float64Array = field(default_factory=lambda: np.empty((0, FUTURE_STEPS, 2)))

    def rows(self, keep: npt.NDArray[np.bool_]) -> _Open:
        return _Open(
            tuple(compress(self.forecasts, keep)), self.track_ids[keep], self.made_at_step[keep], self.actual[keep]
        )

    def joined_by(self, forecasts: tuple[Forecast, ...], actual: Float64Array) -> _Open:
        track_ids = np.array([each.track_id for each in forecasts], np.int64)
        made_at_step = np.array([each.made_at_step for each in forecasts], np.int64)
        return _Open(
            self.forecasts + forecasts,
            np.concatenate((self.track_ids, track_ids)),
            np.concatenate((self.made_at_step, made_at_step)),
            np.concatenate((self.actual, actual)),
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
        self._open = _Open()

    def advance(
        self, captured_at: datetime, tracks: FrameTracks, positions: Float64Array
    ) -> tuple[Due | None, tuple[ForecastScore, ...]]:
        """Take one frame's tracks and their positions (n, 2); return what is due and what was scored.

        Only the newest grid step can be due: an older one would be forecast with knowledge of its future.
        """
        now = to_nanoseconds(captured_at)
        scores = self._close_ended(now)
        current = self._live
        rows = _rows_of(tracks.track_ids, current.track_ids)
        new = rows < 0
        if new.any():
            current = current.joined_by(tracks.track_ids[new], now)
            rows = np.searchsorted(current.track_ids, tracks.track_ids)
            # A track's first sight counts as its own past, so that a sight exactly on the grid is a sample.
            current.position[rows[new]] = positions[new]
        began_at, began_from = current.seen_at.copy(), current.position.copy()
        current.position[rows], current.class_ids[rows], current.seen_at[rows] = positions, tracks.class_ids, now
        self._live = current
        seen = current.seen_at == now
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

        `paths` (n, M, 12, 2) in metres, as a forecaster gives them; kept, scored and returned in the camera's units,
        as float32. `log_probs` (n, M).
        """
        origins = due.observed[:, -1]
        made = Forecast.made_together(
            self.camera_id,
            due.track_ids.tolist(),
            due.class_ids.tolist(),
            due.step,
            origins,
            origins - due.observed[:, -2],
            paths / np.float32(metres_per(self.units)),
            log_probs,
            self.units,
            model,
            model_version,
        )
        self._open = self._open.joined_by(made, np.full((len(made), FUTURE_STEPS, 2), np.nan))
        return made

    @property
    def open(self) -> int:
        """The number of forecasts that are neither scored nor closed yet."""
        return len(self._open.forecasts)

    def state(self) -> bytes:
        """Everything needed to continue as if nothing had happened."""
        arrays = {f"live.{name}": getattr(self._live, name) for name in _LIVE_FIELDS}
        batches: list[list[int | str]] = []
        first = 0
        for batch, alike in groupby(self._open.forecasts, key=_batch_of):
            together = list(alike)
            last = first + len(together)
            columns = {
                name: np.array([getattr(each, value) for each in together]) for name, value in _BATCH_FIELDS.items()
            }
            columns["actual"] = self._open.actual[first:last]
            first = last
            arrays |= {f"{len(batches)}.{name}": column for name, column in columns.items()}
            batches.append(list(batch[:3]))
        values = {"camera_id": self.camera_id, "units": self.units, "pending": batches}
        return encode_state(_KIND, _VERSION, values, arrays)

    @classmethod
    def restore(cls, data: bytes) -> ForecastLedger:
        """Undo `state`. Raises InvalidInputError on damaged bytes."""
        values, arrays = decode_state(data, _KIND, _VERSION)
        ledger = cls(values["camera_id"], values["units"])
        ledger._live = _Live(**{name: arrays[f"live.{name}"] for name in _LIVE_FIELDS})
        for index, (step, model, version) in enumerate(values["pending"]):
            columns = {name: arrays[f"{index}.{name}"] for name in (*_BATCH_FIELDS, "actual")}
            made = Forecast.made_together(
                ledger.camera_id,
                columns["track_ids"].tolist(),
                columns["class_ids"].tolist(),
                step,
                columns["origin"],
                columns["velocity"],
                columns["paths"],
                columns["log_probs"],
                ledger.units,
                model,
                version,
            )
            ledger._open = ledger._open.joined_by(made, columns["actual"])
        return ledger

    def _due(self, step: int, live: _Live, ready: npt.NDArray[np.bool_], moving: npt.NDArray[np.bool_]) -> Due:
        last = live.history[moving, -1]
        neighbours = nearest_others(last, last - live.history[moving, -2])[ready[moving]]
        observed = live.history[ready].astype(np.float32)
        return Due(step, live.track_ids[ready], live.class_ids[ready], observed, neighbours, self.units)

    def _score(self, step: int, track_ids: Int64Array, points: Float64Array) -> list[ForecastScore]:
        """Note where tracks are at `step`, and score the forecasts whose last step this is."""
        waiting = self._open
        rows = _rows_of(waiting.track_ids, track_ids)
        ahead = step - waiting.made_at_step - 1
        # Beyond the horizon wait only forecasts whose track is out of sight at the moment.
        here = (rows >= 0) & (ahead >= 0) & (ahead < FUTURE_STEPS)
        waiting.actual[here, ahead[here]] = points[rows[here]]
        here &= ahead == FUTURE_STEPS - 1
        return self._close(here, "scored") if here.any() else []

    def _close_ended(self, now: int) -> list[ForecastScore]:
        """Forget the tracks unseen for too long, and close their forecasts."""
        alive = now - self._live.seen_at <= MAX_GAP_NANOSECONDS
        if alive.all():
            return []
        self._live = self._live.rows(alive)
        return self._close(_rows_of(self._open.track_ids, self._live.track_ids) < 0, "track_ended")

    def _close(self, over: npt.NDArray[np.bool_], status: Literal["scored", "track_ended"]) -> list[ForecastScore]:
        """Take out the forecasts that are `over`, and say how they turned out."""
        closed = self._open.rows(over)
        scores = []
        first = 0
        for _, alike in groupby(closed.forecasts, key=lambda each: len(each.paths)):
            together = list(alike)
            steps, errors = _errors(together, closed.actual[first : first + len(together)])
            first += len(together)
            for made, came, told in zip(together, steps, errors, strict=True):
                what = (made.track_id, made.class_id, made.made_at_step, made.model, made.model_version, self.units)
                scores.append(ForecastScore(self.camera_id, *what, status, came, *(told if came else _NONE_CAME)))
        self._open = self._open.rows(~over)
        return scores


def _errors(forecasts: Sequence[Forecast], actual: Float64Array) -> tuple[list[int], list[list[float]]]:
    """For each of n forecasts of as many paths how many steps came, and its errors over these: a ForecastScore's six.

    `actual` (n, 12, 2).
    """
    count = len(forecasts)
    origin, velocity, log_probs, paths = (
        np.concatenate([getattr(each, name) for each in forecasts], axis=None).reshape(count, *shape)
        for name, shape in _SHAPES.items()
    )
    steps = np.isfinite(actual).all(axis=-1).sum(axis=-1)
    ahead = np.arange(1, FUTURE_STEPS + 1)[:, None]
    straight = origin[:, None] + ahead * velocity[:, None]
    apart = np.concatenate([paths, straight[:, None]], axis=1, dtype=np.float64)
    apart -= actual[:, None]
    apart *= apart
    distances = np.sqrt(apart[..., 0] + apart[..., 1])
    errors = np.full((2, *distances.shape[:2]), np.nan)
    for came in set(steps.tolist()) - {0}:
        rows = steps == came
        errors[0, rows], errors[1, rows] = distances[rows, :, :came].mean(axis=-1), distances[rows, :, came - 1]
    likely, best = errors[:, np.arange(count), log_probs.argmax(axis=1)], errors[..., :-1].min(axis=-1)
    return steps.tolist(), np.concatenate((likely, best, errors[..., -1])).T.tolist()


_NONE_CAME = (None,) * 6
_SHAPES = {"origin": (2,), "velocity": (2,), "log_probs": (-1,), "paths": (-1, FUTURE_STEPS, 2)}
_LIVE_FIELDS = ("track_ids", "class_ids", "seen_at", "position", "history", "steps")
_BATCH_FIELDS = {
    "track_ids": "track_id",
    "class_ids": "class_id",
    "origin": "origin",
    "velocity": "velocity",
    "paths": "paths",
    "log_probs": "log_probs",
}
"""What each forecast of a batch, those made together, has for itself: its name in the state, and its field."""


def _batch_of(forecast: Forecast) -> tuple[int, str, str, int]:
    return forecast.made_at_step, forecast.model, forecast.model_version, len(forecast.paths)


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
