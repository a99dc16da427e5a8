"""A path sampled on the platform's common time grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
    n at least 1, finite, in `units`. `seen` (n,): whether the object was in sight between that step and the next; else
    the position lies in a gap that was bridged, and was known only when the gap ended. Seen throughout where not given.
    """

    camera_id: str
    track_id: int
    class_id: int
    first_step: int
    positions: Float64Array
    units: str
    seen: npt.NDArray[np.bool_]

    def __init__(
        self,
        camera_id: str,
        track_id: int,
        class_id: int,
        first_step: int,
        positions: npt.ArrayLike,
        units: str,
        seen: npt.ArrayLike | None = None,
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
        known = np.ones(len(points), np.bool_) if seen is None else seen
        object.__setattr__(self, "seen", frozen_array("seen", known, np.bool_, (len(points),)))

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, start: int, stop: int) -> Trajectory:
        """What it is from its position number `start` to before `stop`, counted from 0."""
        return Trajectory(
            self.camera_id,
            self.track_id,
            self.class_id,
            self.first_step + start,
            self.positions[start:stop],
            self.units,
            self.seen[start:stop],
        )


def places_of(parts: Sequence[Trajectory], whole: Sequence[Trajectory]) -> list[int]:
    """Where each of `parts`, which are parts of `whole`, begins in the positions of `whole` end to end.

    >>> walk = Trajectory("gate", 1, 0, 100, np.zeros((9, 2)), METRES)
    >>> places_of([walk.part(4, 9)], [Trajectory("gate", 2, 0, 103, np.zeros((30, 2)), METRES), walk])
    [34]
    """
    stretches: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    end = 0
    for trajectory in whole:
        stretches[trajectory.camera_id, trajectory.track_id].append((trajectory.first_step, end))
        end += len(trajectory)
    places = []
    for part in parts:
        found = stretches[part.camera_id, part.track_id]
        first_step, place = max(each for each in found if each[0] <= part.first_step)
        places.append(place + part.first_step - first_step)
    return places
