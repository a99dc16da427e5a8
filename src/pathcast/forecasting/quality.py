"""Which trajectories are fit to learn from, and why others are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import METRES, STEP_NANOSECONDS, Trajectory
from pathcast.forecasting.track_rows import PERSON_CLASS
from pathcast.forecasting.windows import WINDOW_STEPS

STEP_SECONDS = STEP_NANOSECONDS / 1e9


def plausible_speed_per_s(class_id: int, units: str) -> float:
    """The speed above which a step is a mistake of the tracker: of a person, or of anything on wheels.

    In metres a second: nobody runs 12, nothing in a street drives 60. A frame is several metres high.
    """
    if units == METRES:
        return 12.0 if class_id == PERSON_CLASS else 60.0
    return 2.0 if class_id == PERSON_CLASS else 6.0


def standing_distance(units: str) -> float:
    """Who gets no further than this in 8 s stands: 0.5 m, or 2% of the frame's height."""
    return 0.5 if units == METRES else 0.02


@dataclass(frozen=True, slots=True)
class TrackQuality:
    """What a trajectory must be to be kept.

    `min_steps`: how long it must live, in steps of 0.4 s. `max_speed_per_s`, in the trajectory's units: it is
    cut at every faster step; None takes `plausible_speed_per_s`, infinity cuts nothing. `max_standing_share`:
    the largest share of the kept trajectories that may stand; of more, an even choice is kept.
    """

    min_steps: int = WINDOW_STEPS
    max_speed_per_s: float | None = None
    max_standing_share: float = 1.0

    def __post_init__(self) -> None:
        if self.min_steps < 1:
            raise InvalidInputError(f"min_steps: expected 1 or more, got {self.min_steps}")
        if self.max_speed_per_s is not None and not self.max_speed_per_s > 0:
            raise InvalidInputError(f"max_speed_per_s: expected a speed above 0, got {self.max_speed_per_s}")
        if not 0 <= self.max_standing_share <= 1:
            raise InvalidInputError(f"max_standing_share: expected 0 to 1, got {self.max_standing_share}")

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for a data card."""
        speed: float | str | None = self.max_speed_per_s
        if speed is None:
            speed = "plausible for the class"
        return {
            "min_steps": self.min_steps,
            "max_speed_per_s": "no limit" if speed == math.inf else speed,
            "max_standing_share": self.max_standing_share,
        }


AS_RECORDED = TrackQuality(max_speed_per_s=math.inf)
"""Every trajectory that gives a window, as published recordings are scored."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Data that was left out: `trajectories` affected and the `steps` (positions) that went."""

    reason: str
    trajectories: int
    steps: int


def choose(trajectories: Sequence[Trajectory], quality: TrackQuality) -> tuple[list[Trajectory], tuple[Drop, ...]]:
    """The trajectories, or parts of them, that are of `quality`, in order, and what was left out."""
    pieces: list[Trajectory] = []
    cut, cuts = 0, 0
    for trajectory in trajectories:
        parts = _cut_at_jumps(trajectory, quality)
        cut += len(parts) > 1
        cuts += len(parts) - 1
        pieces += parts
    kept = [piece for piece in pieces if len(piece) >= quality.min_steps]
    moving, standing = _by_motion(kept)
    share = quality.max_standing_share
    allowed = len(standing) if share == 1 else min(len(standing), math.floor(share / (1 - share) * len(moving)))
    # Spread over the whole, so that no camera and no hour loses all of them.
    even = {standing[int(index)] for index in np.arange(allowed) * len(standing) / max(allowed, 1)}
    left_out = [index for index in standing if index not in even]
    drops = (
        Drop(f"cut at {cuts} steps that are too fast", cut, 0),
        Drop(
            f"shorter than {quality.min_steps} steps",
            len(pieces) - len(kept),
            sum(map(len, pieces)) - sum(map(len, kept)),
        ),
        Drop(f"standing, beyond a share of {share:g}", len(left_out), sum(len(kept[index]) for index in left_out)),
    )
    gone = set(left_out)
    chosen = [piece for index, piece in enumerate(kept) if index not in gone]
    return chosen, tuple(drop for drop in drops if drop.trajectories)


def _cut_at_jumps(trajectory: Trajectory, quality: TrackQuality) -> list[Trajectory]:
    limit = quality.max_speed_per_s
    if limit is None:
        limit = plausible_speed_per_s(trajectory.class_id, trajectory.units)
    lengths = np.linalg.norm(np.diff(trajectory.positions, axis=0), axis=1)
    jumps = (np.flatnonzero(lengths > limit * STEP_SECONDS) + 1).tolist()
    if not jumps:
        return [trajectory]
    return [trajectory.part(start, stop) for start, stop in pairwise([0, *jumps, len(trajectory)])]


def stands(trajectory: Trajectory) -> bool:
    """Whether it stays where it is: its net displacement over 8 s is at most `standing_distance`, in the median.

    The boxes of a parked car tremble, and now and then one is far off; neither makes it move.
    """
    span = min(WINDOW_STEPS, len(trajectory))
    positions = trajectory.positions
    moved = np.linalg.norm(positions[span - 1 :] - positions[: len(positions) - span + 1], axis=1)
    return bool(np.median(moved) <= standing_distance(trajectory.units))


def _by_motion(trajectories: Sequence[Trajectory]) -> tuple[list[int], list[int]]:
    moving: list[int] = []
    standing: list[int] = []
    for index, trajectory in enumerate(trajectories):
        (standing if stands(trajectory) else moving).append(index)
    return moving, standing
