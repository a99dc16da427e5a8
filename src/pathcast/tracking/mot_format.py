"""MOTChallenge text: detections, ground truth, results and `seqinfo.ini`, as in MOT15 and MOT16.

One row per box, comma separated: frame (from 1), id (-1 for a detection), left, top, width, height in
pixels, confidence, then three columns of world coordinates (MOT15), which are not read, or class and visibility
(MOT16). In ground truth a confidence of 0 marks a box that must not be scored.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pathcast.core import Detections, FrameTracks, InvalidInputError
from pathcast.core.arrays import Float64Array, Int64Array, frozen_array

_MIN_COLUMNS = 7
_WITH_CLASS = (8, 9)
"""So many columns has a row of MOT16; MOT15 has ten."""

_PEDESTRIAN = 1
_SLOWEST_HZ = 1 / 86_400
"""A frame a day; of slower ones the times soon pass the calendar's end."""

SEQUENCE_FILE = "seqinfo.ini"
TRUTH_FILE = Path("gt", "gt.txt")
_IMAGE_FOLDER, _IMAGE_SUFFIX = "img1", ".jpg"


@dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What `seqinfo.ini` says: frames are numbered 1 … `length`, `frame_rate` in Hz, sizes in pixels.

    Frame n, where it is an image, is the file `image_folder`/n with six digits and `image_suffix`.
    """

    name: str
    frame_rate: float
    length: int
    width: int
    height: int
    image_folder: str = _IMAGE_FOLDER
    image_suffix: str = _IMAGE_SUFFIX

    def image(self, number: int) -> str:
        """The name of that frame's file below the sequence's folder."""
        return f"{self.image_folder}/{number:06d}{self.image_suffix}"


@dataclass(frozen=True, slots=True, eq=False)
class MotBoxes:
    """Boxes of a whole sequence, parallel arrays sorted by frame (rows of one frame keep their order).

    `frames` (n,) int64 from 1; `ids` (n,) int64, -1 where unknown; `xyxy` (n, 4) float64 pixels: left,
    top, right, bottom; `confidences` (n,) float64, any real number (public detectors give unbounded ones);
    `classes` (n,) int64, MOT16's numbers, 1 (a pedestrian) where nobody says.
    """

    frames: Int64Array
    ids: Int64Array
    xyxy: Float64Array
    confidences: Float64Array
    classes: Int64Array

    def __init__(
        self,
        frames: npt.ArrayLike,
        ids: npt.ArrayLike,
        xyxy: npt.ArrayLike,
        confidences: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
    ) -> None:
        numbers = frozen_array("frames", frames, np.int64, (None,))
        count = len(numbers)
        order = np.argsort(numbers, kind="stable")
        columns = (
            ("frames", numbers),
            ("ids", frozen_array("ids", ids, np.int64, (count,))),
            ("xyxy", frozen_array("xyxy", xyxy, np.float64, (count, 4))),
            ("confidences", frozen_array("confidences", confidences, np.float64, (count,))),
            (
                "classes",
                frozen_array(
                    "classes", np.full(count, _PEDESTRIAN) if classes is None else classes, np.int64, (count,)
                ),
            ),
        )
        for name, values in columns:
            ordered = values[order]
            ordered.flags.writeable = False
            object.__setattr__(self, name, ordered)

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, rows: npt.NDArray[np.bool_]) -> MotBoxes:
        """The rows under a boolean mask."""
        return MotBoxes(self.frames[rows], self.ids[rows], self.xyxy[rows], self.confidences[rows], self.classes[rows])

    def by_frame(self, length: int) -> list[slice]:
        """For each frame 1 … `length` the slice of its rows."""
        starts = np.searchsorted(self.frames, np.arange(1, length + 2))
        return [slice(int(start), int(stop)) for start, stop in zip(starts[:-1], starts[1:], strict=True)]


def read_sequence_info(directory: Path) -> SequenceInfo:
    """Read `directory`/seqinfo.ini; raise InvalidInputError naming the file and the key."""
    path = directory / SEQUENCE_FILE
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
        section = parser["Sequence"]
        info = SequenceInfo(
            name=section.get("name", directory.name),
            frame_rate=float(section["frameRate"]),
            length=int(section["seqLength"]),
            width=int(section["imWidth"]),
            height=int(section["imHeight"]),
            image_folder=section.get("imDir", _IMAGE_FOLDER),
            image_suffix=section.get("imExt", _IMAGE_SUFFIX),
        )
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{path}: no such file",
            hint="write it (CVAT leaves it out): a line [Sequence], then frameRate, seqLength, imWidth and imHeight",
        ) from error
    except KeyError as error:
        raise InvalidInputError(f"{path}: key {error} is missing") from error
    except (configparser.Error, ValueError) as error:
        raise InvalidInputError(f"{path}: {error}") from error
    if not _SLOWEST_HZ <= info.frame_rate < np.inf:
        raise InvalidInputError(
            f"{path}: frameRate: expected a finite rate of {_SLOWEST_HZ:.2g} Hz or more, got {info.frame_rate:g}"
        )
    if info.length <= 0 or info.width <= 0 or info.height <= 0:
        raise InvalidInputError(f"{path}: expected positive seqLength, imWidth and imHeight, got {info}")
    return info


def write_sequence_info(directory: Path, info: SequenceInfo) -> Path:
    """Write `directory`/seqinfo.ini and return its path."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser["Sequence"] = {
        "name": info.name,
        "imDir": info.image_folder,
        "frameRate": f"{info.frame_rate:g}",
        "seqLength": str(info.length),
        "imWidth": str(info.width),
        "imHeight": str(info.height),
        "imExt": info.image_suffix,
    }
    path = directory / SEQUENCE_FILE
    with path.open("w", encoding="utf-8") as file:
        parser.write(file, space_around_delimiters=False)
    return path


def read_boxes(path: Path, *, length: int | None = None, identified: bool = False) -> MotBoxes:
    """Read detections, results or ground truth.

    `length` bounds the frame numbers. With `identified`, ids must be positive and unique within a frame,
    as ground truth and results promise. Raises InvalidInputError naming the file and the row (from 1).
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: not a text file: {error}") from error
    rows: list[list[float]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        cells = line.split(",")
        if len(cells) < _MIN_COLUMNS:
            raise InvalidInputError(f"{path} row {number}: expected {_MIN_COLUMNS} or more columns, got {len(cells)}")
        try:
            kind = float(cells[_MIN_COLUMNS]) if len(cells) in _WITH_CLASS else -1
            rows.append([*(float(cell) for cell in cells[:_MIN_COLUMNS]), _PEDESTRIAN if kind == -1 else kind])
        except ValueError as error:
            raise InvalidInputError(f"{path} row {number}: {error}") from error
        numbers.append(number)
    table = np.array(rows, dtype=np.float64).reshape(-1, _MIN_COLUMNS + 1)
    _check_rows(path, table, numbers, length, identified)
    top_left, size = table[:, 2:4], table[:, 4:6]
    return MotBoxes(table[:, 0], table[:, 1], np.hstack((top_left, top_left + size)), table[:, 6], table[:, 7])


def _check_rows(path: Path, table: Float64Array, numbers: Sequence[int], length: int | None, identified: bool) -> None:
    last = np.inf if length is None else length
    frames, ids = table[:, 0], table[:, 1]
    checks = [
        (np.isfinite(table).all(axis=1), "a finite number in every column"),
        ((frames >= 1) & (frames <= last) & (frames == np.floor(frames)), f"a whole frame number from 1 to {last:g}"),
        (ids == np.floor(ids), "a whole id"),
        (table[:, 7] == np.floor(table[:, 7]), "a whole class in column 8, as MOT16 has it, or MOT15's ten columns"),
        ((table[:, 4] >= 0) & (table[:, 5] >= 0), "width and height of 0 or more"),
    ]
    if identified:
        checks.append((ids > 0, "an id above 0"))
        first = np.zeros(len(table), dtype=bool)
        first[np.unique(table[:, :2], axis=0, return_index=True)[1]] = True
        checks.append((first, "an id at most once in a frame"))
    for good, expected in checks:
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InvalidInputError(f"{path} row {numbers[row]}: expected {expected}, got {table[row].tolist()}")


def write_boxes(path: Path, boxes: MotBoxes) -> None:
    """Write `boxes` as MOT15 text, ten significant digits a number."""
    size = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    with path.open("w", encoding="utf-8") as file:
        for frame, identity, corner, extent, confidence in zip(
            boxes.frames.tolist(),
            boxes.ids.tolist(),
            boxes.xyxy[:, :2].tolist(),
            size.tolist(),
            boxes.confidences.tolist(),
            strict=True,
        ):
            numbers = ",".join(f"{value:.10g}" for value in (*corner, *extent, confidence))
            file.write(f"{frame},{identity},{numbers},-1,-1,-1\n")


def to_detections(boxes: MotBoxes, length: int) -> list[Detections]:
    """One Detections per frame 1 … `length`, class 0; confidences must lie in [0, 1]."""
    return [
        Detections(boxes.xyxy[rows], boxes.confidences[rows], np.zeros(rows.stop - rows.start))
        for rows in boxes.by_frame(length)
    ]


def from_tracks(tracks: Mapping[int, FrameTracks]) -> MotBoxes:
    """The boxes of tracker results, given as frame number (from 1) → FrameTracks."""
    frames = [np.full(len(result), frame) for frame, result in tracks.items()]
    results = list(tracks.values())
    return MotBoxes(
        np.concatenate([*frames, np.empty(0)]),
        np.concatenate([*(result.track_ids for result in results), np.empty(0)]),
        np.concatenate([*(result.xyxy for result in results), np.empty((0, 4))]),
        np.concatenate([*(result.scores for result in results), np.empty(0)]),
    )
