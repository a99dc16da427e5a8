"""ETH/UCY pedestrian files (Pellegrini et al. 2009, Lerner et al. 2007) and their leave-one-scene-out split."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import METRES, Trajectory
from pathcast.forecasting.windows import Windows, concatenate, cut_windows

Part = Literal["all_data", "train", "val"]

SCENES: dict[str, tuple[str, ...]] = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
"""Test scene → its recordings. Recordings of no scene are only ever trained on."""

RECORDINGS = (
    "biwi_eth",
    "biwi_hotel",
    "crowds_zara01",
    "crowds_zara02",
    "crowds_zara03",
    "students001",
    "students003",
    "uni_examples",
)

FRAMES_PER_STEP = 10
_PERSON_CLASS = 0
_COLUMNS = ("frame", "id", "x", "y")


def read_trajectories(path: Path) -> list[Trajectory]:
    """The pedestrians of one file, in order of id, split where a track has a gap.

    The file holds lines of frame, id, x, y separated by white space, x and y in metres; 10 frames are one
    step of 0.4 s. `first_step` counts from the recording's frame 0. Raises InvalidInputError, naming the
    file and the row, on a wrong number of columns, values that are not finite numbers, a frame off the
    10-frame grid of its track, and a repeated time of one pedestrian.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file", hint="expected the ETH/UCY layout: all_data/, train/, val/")
    tracks: dict[int, list[tuple[int, float, float, int]]] = defaultdict(list)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            frame, identity, x, y = _parse(path, number, line)
            tracks[identity].append((frame, x, y, number))
    if not tracks:
        raise InvalidInputError(f"{path}: expected rows of {', '.join(_COLUMNS)}, got an empty file")
    trajectories: list[Trajectory] = []
    for identity in sorted(tracks):
        trajectories += _split_at_gaps(path, identity, sorted(tracks[identity]))
    return trajectories


def _parse(path: Path, number: int, line: str) -> tuple[int, int, float, float]:
    fields = line.split()
    if len(fields) != len(_COLUMNS):
        raise InvalidInputError(
            f"{path} row {number}: expected {len(_COLUMNS)} columns ({', '.join(_COLUMNS)}), got {len(fields)}"
        )
    values: list[float] = []
    for name, field in zip(_COLUMNS, fields, strict=True):
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInputError(f"{path} row {number}: {name}: expected a finite number, got {field!r}")
        values.append(value)
    for name, value in zip(_COLUMNS[:2], values[:2], strict=True):
        if value != int(value):
            raise InvalidInputError(f"{path} row {number}: {name}: expected a whole number, got {value}")
    return int(values[0]), int(values[1]), values[2], values[3]


def _split_at_gaps(path: Path, identity: int, rows: list[tuple[int, float, float, int]]) -> list[Trajectory]:
    runs: list[list[tuple[int, float, float, int]]] = [[rows[0]]]
    for before, row in zip(rows, rows[1:], strict=False):
        gap = row[0] - before[0]
        if gap == 0:
            raise InvalidInputError(
                f"{path} row {row[3]}: expected one row per frame for id {identity}, frame {row[0]} is also in row "
                f"{before[3]}"
            )
        if gap % FRAMES_PER_STEP:
            raise InvalidInputError(
                f"{path} row {row[3]}: expected id {identity} at multiples of {FRAMES_PER_STEP} frames after frame "
                f"{before[0]}, got frame {row[0]}"
            )
        if gap == FRAMES_PER_STEP:
            runs[-1].append(row)
        else:
            runs.append([row])
    return [
        Trajectory(
            path.stem,
            identity,
            _PERSON_CLASS,
            run[0][0] // FRAMES_PER_STEP,
            np.array([[x, y] for _, x, y, _ in run]),
            METRES,
        )
        for run in runs
    ]


def read_recordings(root: Path, part: Part, recordings: tuple[str, ...]) -> Windows:
    """All strict windows of the named recordings in `root`/`part`."""
    suffix = "" if part == "all_data" else f"_{part}"
    return concatenate([cut_windows(read_trajectories(root / part / f"{name}{suffix}.txt")) for name in recordings])


def read_test(root: Path, scene: str) -> Windows:
    """The test windows of a scene: all of its recordings, in full."""
    return read_recordings(root, "all_data", SCENES[_check_scene(scene)])


def read_split(root: Path, held_out: str | None) -> tuple[Windows, Windows]:
    """Training and validation windows of every recording that is not part of the scene `held_out`."""
    excluded = () if held_out is None else SCENES[_check_scene(held_out)]
    chosen = tuple(name for name in RECORDINGS if name not in excluded)
    return read_recordings(root, "train", chosen), read_recordings(root, "val", chosen)


def _check_scene(scene: str) -> str:
    if scene not in SCENES:
        raise InvalidInputError(f"scene: expected one of {', '.join(SCENES)}, got {scene!r}")
    return scene
