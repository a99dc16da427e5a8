"""Predicted paths, and how they turned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

import msgspec
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, frozen_array, require_finite
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FUTURE_STEPS, check_units, step_time


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """M possible paths of one track over the next 12 steps (4.8 s), made at grid step `made_at_step`.

    `paths` (M, 12, 2) float32 in `units`, absolute positions at steps made_at_step + 1 … + 12.
    `log_probs` (M,) float32, the log probability of each path. `origin` (2,) float32: the position at
    `made_at_step`. `velocity` (2,) float32: the last observed displacement per step; walking straight
    on from `origin` with it is the baseline that every forecast is scored beside.
    """

    camera_id: str
    track_id: int
    class_id: int
    made_at_step: int
    origin: Float32Array
    velocity: Float32Array
    paths: Float32Array
    log_probs: Float32Array
    units: str
    model: str
    model_version: str

    def __init__(
        self,
        camera_id: str,
        track_id: int,
        class_id: int,
        made_at_step: int,
        origin: npt.ArrayLike,
        velocity: npt.ArrayLike,
        paths: npt.ArrayLike,
        log_probs: npt.ArrayLike,
        units: str,
        model: str,
        model_version: str,
    ) -> None:
        arrays = _checked((), f"forecast of track {track_id} of {camera_id}", origin, velocity, paths, log_probs)
        self._fill(camera_id, track_id, class_id, made_at_step, *arrays, check_units(units), model, model_version)

    @classmethod
    def made_together(
        cls,
        camera_id: str,
        track_ids: Sequence[int],
        class_ids: Sequence[int],
        made_at_step: int,
        origins: npt.ArrayLike,
        velocities: npt.ArrayLike,
        paths: npt.ArrayLike,
        log_probs: npt.ArrayLike,
        units: str,
        model: str,
        model_version: str,
    ) -> tuple[Self, ...]:
        """The forecasts of n tracks from one answer of a model, checked as a whole.

        `origins` and `velocities` (n, 2), `paths` (n, M, 12, 2), `log_probs` (n, M).
        """
        if len(class_ids) != len(track_ids):
            raise InvalidInputError(
                f"class_ids: expected one for each of {len(track_ids)} tracks, got {len(class_ids)}"
            )
        who = f"forecasts of tracks {', '.join(map(str, track_ids))} of {camera_id}"
        arrays = _checked((len(track_ids),), who, origins, velocities, paths, log_probs)
        shared = check_units(units), model, model_version
        made = tuple(object.__new__(cls) for _ in track_ids)
        for forecast, track_id, class_id, *own in zip(made, track_ids, class_ids, *arrays, strict=True):
            forecast._fill(camera_id, track_id, class_id, made_at_step, *own, *shared)
        return made

    def _fill(self, *values: object) -> None:
        """Set the fields, in their order."""
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def made_at(self) -> datetime:
        """The time of `made_at_step`, aware UTC."""
        return step_time(self.made_at_step)

    @property
    def most_likely_path(self) -> Float32Array:
        """(12, 2): the path with the highest log probability, the first of equals."""
        path: Float32Array = self.paths[int(np.argmax(self.log_probs))]
        return path


class ForecastScore(msgspec.Struct, frozen=True):
    """How one forecast turned out, in the forecast's `units`.

    `status` is `scored` when the track lived through all 12 steps, else `track_ended`; then the errors
    cover the `steps` that came, and are None when none came. `ade` is the mean, `fde` the last
    displacement error of the most likely path, `best_ade`/`best_fde` of the best of the M paths;
    `constant_velocity_*` the same for walking straight on.
    """

    camera_id: str
    track_id: int
    class_id: int
    made_at_step: int
    model: str
    model_version: str
    units: str
    status: Literal["scored", "track_ended"]
    steps: int
    ade: float | None
    fde: float | None
    best_ade: float | None
    best_fde: float | None
    constant_velocity_ade: float | None
    constant_velocity_fde: float | None

    @property
    def made_at(self) -> datetime:
        """The time of `made_at_step`, aware UTC."""
        return step_time(self.made_at_step)


def _checked(
    rows: tuple[int, ...],
    who: str,
    origin: npt.ArrayLike,
    velocity: npt.ArrayLike,
    paths: npt.ArrayLike,
    log_probs: npt.ArrayLike,
) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
    """The arrays of a forecast, or with `rows` (n,) of n forecasts, read-only."""
    futures = frozen_array("paths", paths, np.float32, (*rows, None, FUTURE_STEPS, 2))
    require_finite(f"{who}: paths", futures)
    return (
        frozen_array("origin", origin, np.float32, (*rows, 2)),
        frozen_array("velocity", velocity, np.float32, (*rows, 2)),
        futures,
        frozen_array("log_probs", log_probs, np.float32, (*rows, futures.shape[len(rows)])),
    )
