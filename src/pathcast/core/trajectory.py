"""A path sampled on the platform's common time grid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, frozen_array, require_finite
from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.errors import InvalidInputError

STEP_NANOSECONDS = 400_000_000
STEP = timedelta(microseconds=STEP_NANOSECONDS // 1_000)
OBSERVED_STEPS = 8
FUTURE_STEPS = 12

METRES = "m"
FRAME_HEIGHTS = "frame_heights"


def check_units(units: str) -> str:
    """Positions are metres on the ground (`m`) or image coordinates over frame height (`frame_heights`)."""
    if units not in (METRES, FRAME_HEIGHTS):
        raise InvalidInputError(f"units: expected '{METRES}' or '{FRAME_HEIGHTS}', got {units!r}")
    return units


def step_index(moment: datetime) -> int:
    """The number of the last grid step at or before `moment`; steps are 0.4 s apart from the Unix epoch.

    >>> from datetime import UTC
    >>> step_index(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    2
    """
    return to_nanoseconds(moment) // STEP_NANOSECONDS


def step_time(step: int) -> datetime:
    """The time of a grid step, exact."""
    return from_nanoseconds(step * STEP_NANOSECONDS)


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """Positions at consecutive grid steps, 0.4 s apart.

    `first_step` counts from the Unix epoch (`step_time` gives its time). `positions` (n, 2) float64,
    n at least 1, finite, in `units`.
    """

    camera_id: str
    track_id: int
    class_id: int
    first_step: int
    positions: Float64Array
    units: str

    def __init__(
        self, camera_id: str, track_id: int, class_id: int, first_step: int, positions: npt.ArrayLike, units: str
    ) -> None:
        points = frozen_array("positions", positions, np.float64, (None, 2))
        if not len(points):
            raise InvalidInputError(f"track {track_id} of {camera_id}: expected at least one position, got none")
        require_finite(f"track {track_id} of {camera_id}: positions", points)
        object.__setattr__(self, "camera_id", camera_id)
        object.__setattr__(self, "track_id", track_id)
        object.__setattr__(self, "class_id", class_id)
        object.__setattr__(self, "first_step", first_step)
        object.__setattr__(self, "positions", points)
        object.__setattr__(self, "units", check_units(units))

    def __len__(self) -> int:
        return len(self.positions)
