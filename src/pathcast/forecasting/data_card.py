"""What a set of trajectories holds, and what was left out of it: written beside every model that learns from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory, step_time
from pathcast.forecasting.quality import STEP_SECONDS, Drop, stands
from pathcast.forecasting.windows import window_starts

ClockName = Literal["utc", "recording"]


@dataclass(frozen=True, slots=True)
class RecordingCard:
    """One camera or recording of a set.

    `trajectories` are the unbroken parts of `tracks`, `positions` their samples 0.4 s apart, `windows` the
    strict windows of 8 + 12 steps in them, as `window_starts` finds them. `since` and `until` are the times of the
    first and last position: ISO 8601 in UTC, or seconds from the recording's start. Speeds are those of steps, in the
    set's units a second; `standing` trajectories do not leave the place.
    """

    name: str
    tracks: int
    trajectories: int
    positions: int
    windows: int
    since: str
    until: str
    span_s: float
    speed_median_per_s: float
    speed_p95_per_s: float
    speed_max_per_s: float
    standing: int


@dataclass(frozen=True, slots=True)
class DataCard:
    """A set of trajectories: where it comes from, how it was chosen, what it holds, what was left out and why."""

    source: str
    layout: str
    units: str
    clock: ClockName
    selection: Mapping[str, Any]
    recordings: tuple[RecordingCard, ...]
    drops: tuple[Drop, ...]

    @property
    def tracks(self) -> int:
        return sum(recording.tracks for recording in self.recordings)

    @property
    def trajectories(self) -> int:
        return sum(recording.trajectories for recording in self.recordings)

    @property
    def positions(self) -> int:
        return sum(recording.positions for recording in self.recordings)

    @property
    def windows(self) -> int:
        return sum(recording.windows for recording in self.recordings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the totals beside them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        totals = {name: getattr(self, name) for name in ("tracks", "trajectories", "positions", "windows")}
        return {**values, **totals}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataCard:
        """Undo `to_dict`; raises InvalidInputError where a field is missing or of the wrong type."""
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"data card: {error}") from error

    def to_markdown(self) -> str:
        """The card as a page."""
        lines = [
            f"# Data: {self.source}",
            "",
            f"{self.windows} windows of 8 + 12 steps in {self.trajectories} trajectories of {self.tracks} tracks "
            f"({self.positions} positions 0.4 s apart, in {self.units}). Layout: {self.layout}.",
            "",
            "Chosen by: " + (", ".join(f"{name} = {_plain(value)}" for name, value in self.selection.items()) or "all"),
            "",
            "| recording | tracks | trajectories | windows | from | to | "
            f"speed, median / 95% / largest ({self.units}/s) | standing |",
            "|---|---|---|---|---|---|---|---|",
            *(
                f"| {each.name} | {each.tracks} | {each.trajectories} | {each.windows} | {each.since} | {each.until} | "
                f"{each.speed_median_per_s:.2f} / {each.speed_p95_per_s:.2f} / {each.speed_max_per_s:.2f} | "
                f"{each.standing} |"
                for each in self.recordings
            ),
            "",
        ]
        if self.drops:
            lines += ["| left out | trajectories | positions |", "|---|---|---|"]
            lines += [f"| {drop.reason} | {drop.trajectories} | {drop.steps} |" for drop in self.drops]
        else:
            lines.append("Nothing was left out.")
        return "\n".join(lines) + "\n"


def describe(
    trajectories: Sequence[Trajectory],
    *,
    source: str,
    layout: str,
    selection: Mapping[str, Any] | None = None,
    drops: Sequence[Drop] = (),
    clock: ClockName = "recording",
) -> DataCard:
    """The card of `trajectories`, as they are after everything in `drops` was left out.

    Raises InvalidInputError when there are none, saying what was left out, and when units are mixed.
    """
    if not trajectories:
        lost = "; ".join(f"{drop.reason}: {drop.trajectories}" for drop in drops) or "no track was found"
        raise InvalidInputError(
            f"{source}: empty selection: expected at least one trajectory, got none ({lost})",
            hint="widen the time range or the choice of cameras and classes, or ask less of the tracks",
        )
    by_name: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        by_name.setdefault(trajectory.camera_id, []).append(trajectory)
    units = {name: sorted({each.units for each in found}) for name, found in by_name.items()}
    if len({unit for found in units.values() for unit in found}) > 1:
        listed = "; ".join(f"{name}: {' and '.join(found)}" for name, found in sorted(units.items()))
        raise InvalidInputError(
            f"{source}: expected trajectories in one unit, got {listed}", hint="choose recordings of one unit"
        )
    recordings = tuple(_recording(name, found, clock) for name, found in sorted(by_name.items()))
    return DataCard(source, layout, trajectories[0].units, clock, dict(selection or {}), recordings, tuple(drops))


def _recording(name: str, trajectories: Sequence[Trajectory], clock: ClockName) -> RecordingCard:
    first = min(each.first_step for each in trajectories)
    last = max(each.first_step + len(each) - 1 for each in trajectories)
    lengths = [np.linalg.norm(np.diff(each.positions, axis=0), axis=1) for each in trajectories]
    speeds = np.concatenate(lengths) / STEP_SECONDS
    median, high, largest = (
        (float(np.median(speeds)), float(np.quantile(speeds, 0.95)), float(speeds.max())) if len(speeds) else (0.0,) * 3
    )
    return RecordingCard(
        name=name,
        tracks=len({each.track_id for each in trajectories}),
        trajectories=len(trajectories),
        positions=sum(map(len, trajectories)),
        windows=sum(len(window_starts(each)) for each in trajectories),
        since=_moment(first, clock),
        until=_moment(last, clock),
        span_s=round((last - first) * STEP_SECONDS, 1),
        speed_median_per_s=round(median, 4),
        speed_p95_per_s=round(high, 4),
        speed_max_per_s=round(largest, 4),
        standing=sum(map(stands, trajectories)),
    )


def _moment(step: int, clock: ClockName) -> str:
    return step_time(step).isoformat() if clock == "utc" else f"{step * STEP_SECONDS:.1f} s"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
