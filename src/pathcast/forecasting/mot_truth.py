"""MOTChallenge ground truth as trajectories: metres where the file has them, else frame heights.

Rows of frame (from 1), id, left, top, width, height in pixels, a flag (0: not to be used), then in MOT15 three
columns of world coordinates in metres (-1 where there are none), in MOT16 class and visibility. `seqinfo.ini`
has the frame rate and the frame's height. Leal-Taixé et al. 2015.
"""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from pathlib import Path

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES, Trajectory
from pathcast.forecasting.track_rows import TrackRow, finite, frames_per_step_at, read_lines, resampled, whole

SEQUENCE_FILE = "seqinfo.ini"
TRUTH_FILE = Path("gt") / "gt.txt"
_COLUMNS = ("frame", "id", "left", "top", "width", "height", "flag", "world x", "world y", "world z")
_WORLD_COLUMNS = 10
_MIN_COLUMNS = 7

_Box = tuple[int, int, list[float], int]


def read_truth(sequence: Path, *, name: str | None = None) -> list[Trajectory]:
    """The tracks of a sequence's folder, sampled on the 0.4 s grid; step 0 is one frame before the first.

    Positions are the world's x and y where every row has them and lies on the ground (z is 0), else the foot
    point in pixels over the frame's height; coordinates with a z are those of a moving camera, no ground
    plane. Rows with the flag 0 are left out. Raises InvalidInputError that names file, row and expectation.
    """
    rate, height = _read_rate_and_height(sequence / SEQUENCE_FILE)
    path = sequence / TRUTH_FILE
    lines = read_lines(path, expected=", ".join(_COLUMNS[:_MIN_COLUMNS]))
    boxes = [box for number, line in lines if (box := _parse(path, number, line)) is not None]
    if not boxes:
        raise InvalidInputError(f"{path}: expected rows with a flag above 0, got {len(lines)} rows with 0")
    world = _on_ground(boxes)
    rows = []
    for frame, identity, values, number in boxes:
        left, top, width, tall = values[:4]
        x, y = values[5:7] if world else ((left + width / 2) / height, (top + tall) / height)
        rows.append(TrackRow(frame, identity, x, y, number))
    per_step = frames_per_step_at(sequence / SEQUENCE_FILE, rate)
    units = METRES if world else FRAME_HEIGHTS
    return resampled(path, sequence.name if name is None else name, rows, per_step, units=units)


def looks_like_truth(line: str) -> bool:
    """Whether a line of text may be a row of MOT's ground truth."""
    return line.count(",") >= _MIN_COLUMNS - 1


def _parse(path: Path, number: int, line: str) -> _Box | None:
    fields = line.split(",")
    if len(fields) < _MIN_COLUMNS:
        raise InvalidInputError(
            f"{path} row {number}: expected {_MIN_COLUMNS} or more columns ({', '.join(_COLUMNS[:_MIN_COLUMNS])}), "
            f"got {len(fields)}"
        )
    frame, identity = (whole(path, number, *pair) for pair in zip(_COLUMNS, fields[:2], strict=False))
    values = [finite(path, number, *pair) for pair in zip(_COLUMNS[2:], fields[2:], strict=False)]
    if frame < 1 or identity < 1:
        raise InvalidInputError(f"{path} row {number}: expected a frame and an id above 0, got {frame} and {identity}")
    if min(values[2:4]) <= 0:
        raise InvalidInputError(
            f"{path} row {number}: expected a width and a height above 0, got {values[2]:g} and {values[3]:g}"
        )
    return None if values[4] == 0 else (frame, identity, values, number)


def _on_ground(boxes: Sequence[_Box]) -> bool:
    count = _WORLD_COLUMNS - 2
    return all(len(values) == count and values[5:8] != [-1, -1, -1] and values[7] == 0 for _, _, values, _ in boxes)


def _read_rate_and_height(path: Path) -> tuple[float, float]:
    parser = configparser.ConfigParser()
    found: list[float] = []
    try:
        parser.read_string("\n".join(line for _, line in read_lines(path, expected="[Sequence]")), source=str(path))
        for key in ("frameRate", "imHeight"):
            found.append(parser.getfloat("Sequence", key))
            if not 0 < found[-1] < float("inf"):
                raise InvalidInputError(f"{path}: {key}: expected a number above 0, got {found[-1]:g}")
    except (configparser.Error, ValueError) as error:
        raise InvalidInputError(f"{path}: expected [Sequence] with frameRate and imHeight: {error}") from error
    return found[0], found[1]
