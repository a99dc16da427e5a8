"""Predicted paths, and how they turned out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, frozen_array, require_finite
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
        futures = frozen_array("paths", paths, np.float32, (None, FUTURE_STEPS, 2))
        require_finite(f"forecast of track {track_id} of {camera_id}: paths", futures)
        object.__setattr__(self, "camera_id", camera_id)
        object.__setattr__(self, "track_id", track_id)
        object.__setattr__(self, "class_id", class_id)
        object.__setattr__(self, "made_at_step", made_at_step)
        object.__setattr__(self, "origin", frozen_array("origin", origin, np.float32, (2,)))
        object.__setattr__(self, "velocity", frozen_array("velocity", velocity, np.float32, (2,)))
        object.__setattr__(self, "paths", futures)
        object.__setattr__(self, "log_probs", frozen_array("log_probs", log_probs, np.float32, (len(futures),)))
        object.__setattr__(self, "units", check_units(units))
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "model_version", model_version)

    @property
    def made_at(self) -> datetime:
        """The time of `made_at_step`, aware UTC."""
        return step_time(self.made_at_step)

    @property
    def most_likely_path(self) -> Float32Array:
        """(12, 2): the path with the highest log probability, the first of equals."""
        path: Float32Array = self.paths[int(np.argmax(self.log_probs))]
        return path


@dataclass(frozen=True, slots=True)
class ForecastScore:
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
