"""The platform's own tracks as training data: a selection, and the card of what it gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from pathcast.core.clock import NANOSECONDS_PER_MICROSECOND, from_nanoseconds, to_nanoseconds
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import check_utc
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES, Trajectory, check_units
from pathcast.forecasting.data_card import DataCard, describe
from pathcast.forecasting.grid import sample_on_grid
from pathcast.forecasting.quality import Drop, TrackQuality, choose
from pathcast.forecasting.track_folder import TrackSet, write_track_folder
from pathcast.storage.connection import database_errors
from pathcast.storage.model_versions import PLATFORM_LAYOUT
from pathcast.storage.resampling import MAX_GAP

SOURCE = "platform"
SLICE = timedelta(hours=6)
"""How much of a camera is read at once: about 750,000 rows of five objects at 7 frames a second."""

_UNITS = (METRES, FRAME_HEIGHTS)
_ROW = np.dtype([("track", "i8"), ("unit", "i1"), ("moment", "i8"), ("class", "i2"), ("x", "f8"), ("y", "f8")])
_Rows = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TrackSelection:
    """Which stored tracks to learn from: since ≤ captured_at < until, aware UTC.

    Without `cameras`, `class_ids` or `units` those are not restricted. `days` is recorded where the span was
    asked for so. `max_gap`: longer gaps split a track, shorter ones are bridged by interpolation.
    """

    since: datetime
    until: datetime
    cameras: tuple[str, ...] = ()
    class_ids: tuple[int, ...] = ()
    units: str | None = None
    days: float | None = None
    max_gap: timedelta = MAX_GAP
    quality: TrackQuality = field(default_factory=TrackQuality)

    def __post_init__(self) -> None:
        check_utc("since", self.since)
        check_utc("until", self.until)
        if self.since >= self.until:
            raise InvalidInputError(f"time range: expected since before until, got {self.since} and {self.until}")
        if self.units is not None:
            check_units(self.units)
        if self.max_gap < timedelta(0):
            raise InvalidInputError(f"max_gap: expected 0 s or more, got {self.max_gap}")

    @classmethod
    def last_days(cls, days: float, now: datetime, **rest: Any) -> TrackSelection:
        """The `days` before `now`; `rest` are the other fields."""
        if not 0 < days < 36_500:
            raise InvalidInputError(f"days: expected a number above 0, got {days}")
        return cls(now - timedelta(days=days), now, days=days, **rest)

    def takes(self, class_id: int) -> bool:
        """Whether tracks of that class are to learn from."""
        return not self.class_ids or class_id in self.class_ids

    def as_mapping(self, cameras: tuple[str, ...]) -> dict[str, Any]:
        """Plain values for the data card; `cameras` are those that were found."""
        return {
            "cameras": list(cameras),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "days": self.days,
            "class_ids": list(self.class_ids) or "all",
            "units": self.units or "any",
            "max_gap_s": self.max_gap.total_seconds(),
            **self.quality.as_mapping(),
        }


def stored_tracks(
    connection: psycopg.Connection, selection: TrackSelection, *, progress: Callable[[float], None] = lambda share: None
) -> TrackSet:
    """The selected tracks on the 0.4 s grid, by camera and time, their card, and all tracks that were there with them.

    `progress` is told the share of the time range that was read. Memory is bound by `SLICE` and by the result.
    Raises InvalidInputError for a camera without tracks in the span, tracks in different units, stored positions
    that are not finite, and when nothing is left.
    """
    spans = _spans(connection, selection)
    everyone: list[Trajectory] = []
    without_step = 0
    for number, (camera_id, (first, last)) in enumerate(spans.items()):
        start, held = first, np.empty(0, _ROW)
        while start <= last:
            stop = min(start + SLICE, selection.until)
            rows = np.concatenate([held, _read(connection, camera_id, start, stop, selection)])
            # A track is held back until it has surely ended.
            open_after = _microseconds(stop) - selection.max_gap // timedelta(microseconds=1)
            waits = np.isin(rows["track"], rows["track"][rows["moment"] >= open_after])
            ended, held = (rows, held[:0]) if stop > last else (rows[~waits], rows[waits])
            for class_id, stretches in _trajectories(camera_id, ended, selection.max_gap):
                everyone += stretches
                without_step += not stretches and selection.takes(class_id)
            start = stop
            progress((number + min((start - first) / (last - first + SLICE), 1.0)) / len(spans))
    progress(1.0)
    kept, drops = choose([each for each in everyone if selection.takes(each.class_id)], selection.quality)
    if without_step:
        drops = (Drop("without a grid step of 0.4 s", without_step, 0), *drops)
    cameras = tuple(spans)
    card = describe(
        kept, source=SOURCE, layout=PLATFORM_LAYOUT, selection=selection.as_mapping(cameras), drops=drops, clock="utc"
    )
    return TrackSet(kept, everyone, card)


def select_tracks(
    connection: psycopg.Connection,
    selection: TrackSelection,
    folder: Path,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> DataCard:
    """Write the selected tracks with their card to `folder`, which `read_tracks` reads; raises as `stored_tracks`."""
    tracks = stored_tracks(connection, selection, progress=progress)
    write_track_folder(folder, tracks)
    return tracks.card


def _spans(connection: psycopg.Connection, selection: TrackSelection) -> dict[str, tuple[datetime, datetime]]:
    """Camera → when its first and last selected row were captured."""
    with database_errors("find the cameras with tracks"):
        rows = connection.execute(
            "SELECT camera_id, min(captured_at), max(captured_at) FROM tracks "
            "WHERE captured_at >= %s AND captured_at < %s GROUP BY camera_id ORDER BY camera_id",
            (selection.since, selection.until),
        ).fetchall()
    spans = {camera_id: (first, last) for camera_id, first, last in rows}
    span = f"{selection.since.isoformat()} to {selection.until.isoformat()}"
    missing = [camera_id for camera_id in selection.cameras if camera_id not in spans]
    if missing or not spans:
        raise InvalidInputError(
            f"{SOURCE}: empty selection: expected tracks of {', '.join(missing) or 'any camera'} in {span}, got none; "
            f"cameras with tracks: {', '.join(spans) or 'none'}",
            hint="widen the time range or choose among those cameras",
        )
    return {camera_id: spans[camera_id] for camera_id in selection.cameras or spans}


def _read(
    connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime, selection: TrackSelection
) -> _Rows:
    with database_errors(f"read the tracks of {camera_id}"), connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT track_id, (units <> %(metres)s)::integer, (extract(epoch FROM captured_at) * 1000000)::bigint, "
            "class_id, x, y FROM tracks WHERE camera_id = %(camera)s AND captured_at >= %(since)s "
            "AND captured_at < %(until)s AND units = coalesce(%(units)s, units)",
            {"camera": camera_id, "since": since, "until": until, "metres": METRES, "units": selection.units},
        ).fetchall()
    return np.array(rows, dtype=_ROW)


def _trajectories(camera_id: str, rows: _Rows, max_gap: timedelta) -> Iterator[tuple[int, list[Trajectory]]]:
    """Class and stretches of each track."""
    longest = max_gap // timedelta(microseconds=1) * NANOSECONDS_PER_MICROSECOND
    ordered = rows[np.lexsort((rows["moment"], rows["unit"], rows["track"]))]
    changes = (np.diff(ordered["track"]) != 0) | (np.diff(ordered["unit"]) != 0)
    for track in np.split(ordered, np.flatnonzero(changes) + 1):
        # Of an empty array, split gives one empty part.
        if not len(track):
            continue
        classes, counts = np.unique(track["class"], return_counts=True)
        class_id = int(classes[np.argmax(counts)])
        track_id, unit = int(track["track"][0]), _UNITS[track["unit"][0]]
        points = np.column_stack([track["x"], track["y"]])
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(bad):
            moment = from_nanoseconds(int(track["moment"][bad[0]]) * NANOSECONDS_PER_MICROSECOND)
            raise InvalidInputError(
                f"{SOURCE}: track {track_id} of {camera_id} at {moment.isoformat()}: expected a finite x and y, got "
                f"{points[bad[0]].tolist()}",
                hint="leave that time out, and see what wrote the row",
            )
        moments = track["moment"] * NANOSECONDS_PER_MICROSECOND
        stretches = sample_on_grid(moments, points, max_gap=longest)
        yield (
            class_id,
            [Trajectory(camera_id, track_id, class_id, step, at, unit, seen) for step, at, seen in stretches],
        )


def _microseconds(moment: datetime) -> int:
    return to_nanoseconds(moment) // NANOSECONDS_PER_MICROSECOND
