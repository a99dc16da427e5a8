"""ETH/UCY pedestrian files (Pellegrini et al. 2009, Lerner et al. 2007) and their leave-one-scene-out split."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory
from pathcast.forecasting.track_rows import on_steps
from pathcast.forecasting.trajnet import read_rows
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


def read_trajectories(path: Path) -> list[Trajectory]:
    """The pedestrians of one file, in order of id, split where a track has a gap.

    The file holds lines of frame, id, x, y separated by white space, x and y in metres; 10 frames are one
    step of 0.4 s. `first_step` counts from the recording's frame 0. Raises InvalidInputError, naming the
    file and the row, on a wrong number of columns, values that are not finite numbers, a frame off the
    10-frame grid of its track, and a repeated time of one pedestrian.
    """
    return on_steps(path, path.stem, read_rows(path), FRAMES_PER_STEP)


def read_recordings(root: Path, part: Part, recordings: tuple[str, ...]) -> Windows:
    """All strict windows of the named recordings in `root`/`part`."""
    suffix = "" if part == "all_data" else f"_{part}"
    return concatenate([_windows(root / part / f"{name}{suffix}.txt") for name in recordings])


def _windows(path: Path) -> Windows:
    trajectories = read_trajectories(path)
    try:
        return cut_windows(trajectories)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}", hint="take a file with longer tracks") from error


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
