"""MOT sequences on disk: folders with a `seqinfo.ini`, ground truth, and the detections of one detector or more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pathcast.core import Detections, InvalidInputError
from pathcast.tracking.mot_format import (
    SEQUENCE_FILE,
    TRUTH_FILE,
    SequenceInfo,
    read_boxes,
    read_sequence_info,
    to_detections,
)

_FILE_NAME = "det.txt"
DETECTIONS_FILE = f"det/{_FILE_NAME}"
"""The detections that a sequence comes with; those of other detectors are in folders of other names."""


def find_sequences(places: Sequence[Path]) -> tuple[Path, ...]:
    """The MOT sequences at or below the given folders, behind links too.

    Raises InvalidInputError where a folder has none, or two have one name.
    """
    found: dict[str, Path] = {}
    for place in places:
        folders = sorted(_sequence_folders(place))
        if not folders:
            raise InvalidInputError(
                f"{place}: expected a MOT sequence or a folder of them, found no {SEQUENCE_FILE}",
                hint=f"a sequence is a folder with {SEQUENCE_FILE}, {TRUTH_FILE} and {DETECTIONS_FILE}",
            )
        for folder in folders:
            name = read_sequence_info(folder).name
            other = found.setdefault(name, folder)
            if other != folder:
                raise InvalidInputError(
                    f"{folder}: expected a name of its own, {other} is {name} too",
                    hint="change `name` in a seqinfo.ini",
                )
    return tuple(found.values())


def pictures_of(sequence: Path, info: SequenceInfo) -> Path | None:
    """The folder with the sequence's frames, or its video: in its folder or beside it, of its name or the only one.

    A video that has the name of another sequence's folder is not its own. Raises InvalidInputError where it may be one
    of several.
    """
    from pathcast.core.video import VIDEO_SUFFIXES  # brings OpenCV, which most sequences need not

    own = sequence / info.image_folder
    if own.is_dir():
        return own
    for place in (sequence, sequence.parent):
        videos = [
            path
            for path in sorted(place.iterdir())
            if path.suffix.lower() in VIDEO_SUFFIXES
            and (path.stem == sequence.name or not (place / path.stem / SEQUENCE_FILE).is_file())
        ]
        named = [path for path in videos if path.stem in (info.name, sequence.name)]
        if len(named or videos) == 1:
            return (named or videos)[0]
        if videos:
            raise InvalidInputError(
                f"{sequence}: expected one video of the sequence in {place}, found {len(named or videos)}",
                hint=f"name its own {info.name}{videos[0].suffix}",
            )
    return None


def _sequence_folders(place: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, below, files in os.walk(place, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        if SEQUENCE_FILE in files:
            yield Path(folder)


def detections_file(sequence: Path, names: Sequence[str]) -> Path:
    """The `det.txt` of a sequence, in the first of the folders `names` that is in the sequence or beside it.

    Raises InvalidInputError, with the folders that are there, where it has none of them.
    """
    places = [place / name / _FILE_NAME for name in names for place in (sequence, sequence.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        expected = ", ".join(map(str, places))
        raise InvalidInputError(f"{sequence}: expected detections at one of {expected}", hint=_others(sequence, names))
    return found


def read_detections(sequence: Path, info: SequenceInfo, names: Sequence[str]) -> list[Detections]:
    """What stands in its `detections_file`, one Detections a frame.

    Raises InvalidInputError that names the file.
    """
    path = detections_file(sequence, names)
    boxes = read_boxes(path, length=info.length)
    try:
        return to_detections(boxes, info.length)
    except InvalidInputError as error:
        hint = _others(sequence, names) or (_SCALE if error.message.startswith("scores") else None)
        raise InvalidInputError(f"{path}: {error.message}", hint=hint) from error


_SCALE = "bring a detector's scores into [0, 1], in their order: by 1 / (1 + exp(-score)), say"


def _others(sequence: Path, names: Sequence[str]) -> str | None:
    there = {path.parent.name for place in (sequence, sequence.parent) for path in place.glob(f"*/{_FILE_NAME}")}
    others = ", ".join(sorted(there.difference(names)))
    return f"`--detections` of a command names others; there are: {others}" if others else None
