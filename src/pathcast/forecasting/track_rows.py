"""Rows of (frame, id, x, y) from a file, as trajectories on the 0.4 s grid."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import METRES, STEP_NANOSECONDS, Trajectory
from pathcast.forecasting.grid import sample_on_grid

PERSON_CLASS = 0
_SLOWEST_HZ = 0.001


@dataclass(frozen=True, slots=True)
class TrackRow:
    """Where the object `identity` is at `frame`; `number` is the row in its file, from 1."""

    frame: int
    identity: int
    x: float
    y: float
    number: int


def read_lines(path: Path, *, expected: str) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, with their row numbers from 1.

    Raises InvalidInputError for what is missing, no file, no text, or empty; `expected` completes "expected rows of".
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such file") from error
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: expected a text file: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise InvalidInputError(f"{path}: expected rows of {expected}, got an empty file")
    return lines


def finite(path: Path, number: int, name: str, text: object) -> float:
    """`text` as a number; raises InvalidInputError, naming file, row and column, unless it is a finite one."""
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInputError(f"{path} row {number}: {name}: expected a finite number, got {text!r}")
    return value


def whole(path: Path, number: int, name: str, text: object) -> int:
    """`text` as a whole number (7.0 is one); raises InvalidInputError, naming file, row and column, else."""
    value = finite(path, number, name, text)
    if value != int(value):
        raise InvalidInputError(f"{path} row {number}: {name}: expected a whole number, got {value}")
    return int(value)


def rows_by_track(path: Path, rows: Iterable[TrackRow]) -> dict[int, list[TrackRow]]:
    """Rows by id in ascending order, each by frame; raises InvalidInputError where a frame is repeated."""
    tracks: defaultdict[int, list[TrackRow]] = defaultdict(list)
    for row in rows:
        tracks[row.identity].append(row)
    for track in tracks.values():
        track.sort(key=lambda row: (row.frame, row.number))
        for before, row in pairwise(track):
            if row.frame == before.frame:
                raise InvalidInputError(
                    f"{path} row {row.number}: expected one row per frame for id {row.identity}, frame {row.frame} is "
                    f"also in row {before.number}"
                )
    return {identity: tracks[identity] for identity in sorted(tracks)}


def on_steps(
    path: Path, name: str, rows: Iterable[TrackRow], frames_per_step: int, *, units: str = METRES
) -> list[Trajectory]:
    """The tracks of a recording whose rows lie whole steps apart, split where rows are missing, in order of id.

    `first_step` counts from the recording's frame 0. Raises InvalidInputError, naming file and row, on a
    repeated time of one id and on a row off the spacing of its track.
    """
    trajectories: list[Trajectory] = []
    for identity, track in rows_by_track(path, rows).items():
        runs = [[track[0]]]
        for before, row in pairwise(track):
            gap = row.frame - before.frame
            if gap % frames_per_step:
                raise InvalidInputError(
                    f"{path} row {row.number}: expected id {identity} at multiples of {frames_per_step} frames after "
                    f"frame {before.frame}, got frame {row.frame}"
                )
            if gap == frames_per_step:
                runs[-1].append(row)
            else:
                runs.append([row])
        for run in runs:
            points = np.array([[row.x, row.y] for row in run])
            first = run[0].frame // frames_per_step
            trajectories.append(Trajectory(name, identity, PERSON_CLASS, first, points, units))
    return trajectories


def resampled(
    path: Path, name: str, rows: Iterable[TrackRow], frames_per_step: Fraction, *, units: str = METRES
) -> list[Trajectory]:
    """As `on_steps` for rows at any frames: sampled by interpolation between them (see `sample_on_grid`).

    `frames_per_step` need not be whole: 7 frames a second are 2.8 a step.
    """
    nanoseconds = STEP_NANOSECONDS / frames_per_step
    return [
        Trajectory(name, identity, PERSON_CLASS, first, points, units, seen)
        for identity, track in rows_by_track(path, rows).items()
        for first, points, seen in sample_on_grid(
            np.array([round(row.frame * nanoseconds) for row in track], dtype=np.int64),
            np.array([[row.x, row.y] for row in track]),
        )
    ]


def frames_per_step_at(path: Path, frame_rate: float) -> Fraction:
    """Frames in a step of 0.4 s, exact for rates with a denominator up to 1001 (30000/1001 Hz is one)."""
    if not _SLOWEST_HZ <= frame_rate < math.inf:
        raise InvalidInputError(f"{path}: expected a finite rate of {_SLOWEST_HZ} Hz or more, got {frame_rate:g}")
    return Fraction(frame_rate).limit_denominator(1001) * STEP_NANOSECONDS / 1_000_000_000


def usual_spacing(path: Path, rows: Iterable[TrackRow]) -> int:
    """The number of frames that most often lies between two rows of a track; 1 where no track has two."""
    tracks = rows_by_track(path, rows).values()
    distances = Counter(row.frame - before.frame for track in tracks for before, row in pairwise(track))
    return distances.most_common(1)[0][0] if distances else 1
