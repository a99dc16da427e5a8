"""The tracker's search: HOTA over given sequences, by its settings."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from pathcast.core import Detections, InvalidInputError
from pathcast.tracking.evaluation import ScoredSequence, evaluate
from pathcast.tracking.mot_format import (
    MotBoxes,
    SequenceInfo,
    from_tracks,
    read_boxes,
    read_sequence_info,
    to_detections,
)
from pathcast.tracking.settings import TrackerSettings, tracker_settings
from pathcast.tracking.tracker import Tracker
from pathcast.training.prepared import content_version
from pathcast.training.search_space import TRACKER, Real, Space, Whole, starting_point

_START = datetime(2000, 1, 1, tzinfo=UTC)

SPACE: Space = {
    "high_score": Real(0.2, 0.9),
    "low_score": Real(0.01, 0.2),
    "new_score": Real(0.2, 0.95),
    "confirm_hits": Whole(1, 6),
    "max_lost_s": Real(0.5, 6.0, log=True),
    "buffer_first": Real(0.0, 1.0),
    "buffer_second": Real(0.0, 1.0),
    "buffer_recovery": Real(0.0, 1.5),
    "least_first": Real(0.05, 0.5),
    "least_second": Real(0.05, 0.5),
    "least_recovery": Real(0.05, 0.6),
    "least_tentative": Real(0.05, 0.5),
    "low_lost_s": Real(0.05, 2.0, log=True),
    "height_power": Real(0.0, 3.0),
    "coast_s": Real(0.0, 1.0),
    "motion.measurement_std": Real(0.01, 0.2, log=True),
    "motion.initial_speed_std": Real(0.1, 2.0, log=True),
    "motion.acceleration_std": Real(0.05, 2.0, log=True),
    "motion.velocity_decay_s": Real(1.0, 60.0, log=True),
}


@dataclass(frozen=True, slots=True)
class _Recording:
    info: SequenceInfo
    detections: list[Detections]
    ground_truth: MotBoxes


@dataclass(frozen=True, slots=True)
class TrackerSearch:
    """HOTA over all sequences, to be large; after each sequence it is reported over those so far.

    `folders` are MOT sequences; `detections` names the folder in or beside each that has det.txt, the first of
    these that a sequence has. `fixed` are settings that all trials share.
    """

    folders: tuple[Path, ...]
    detections: tuple[str, ...]
    fixed: Mapping[str, Any]

    name = TRACKER
    value_name = "hota"
    maximize = True
    space = SPACE

    def facts(self) -> dict[str, Any]:
        """What must be the same when the search goes on."""
        sequences = [folder.name for folder in self.folders]
        digest = hashlib.sha256()
        for folder in self.folders:
            for path in _files(folder, self.detections):
                digest.update(path.read_bytes())
        return {"sequences": sequences, "detections": list(self.detections), "data_version": digest.hexdigest()}

    def start(self) -> Mapping[str, Any]:
        settings: dict[str, Any] = msgspec.to_builtins(TrackerSettings())
        flat = {
            f"{group}.{name}": value
            for group, own in settings.items()
            if isinstance(own, dict)
            for name, value in own.items()
        }
        return starting_point(SPACE, settings | flat)

    def open(self) -> _OpenTrackerSearch:
        return _OpenTrackerSearch([_read(folder, self.detections) for folder in self.folders], self.fixed)


class _OpenTrackerSearch:
    """The sequences in memory."""

    def __init__(self, recordings: Sequence[_Recording], fixed: Mapping[str, Any]) -> None:
        self._recordings, self._fixed = recordings, fixed

    def run(self, values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        settings = tracker_settings({**self._fixed, **values})
        scored: dict[str, ScoredSequence] = {}
        hota = 0.0
        for number, item in enumerate(self._recordings, start=1):
            tracker = Tracker(settings)
            tracks = {
                frame + 1: tracker.update(found, _START + timedelta(seconds=frame / item.info.frame_rate))
                for frame, found in enumerate(item.detections)
            }
            scored[item.info.name] = ScoredSequence(item.ground_truth, from_tracks(tracks), item.info.length)
            hota = evaluate(scored)[0].hota
            report(number, hota)
        return hota

    def seconds(self) -> float:
        """How long a trial takes, measured."""
        began = time.perf_counter()
        self.run({}, lambda *_: None)
        return time.perf_counter() - began


def find_sequences(places: Sequence[Path]) -> tuple[Path, ...]:
    """The MOT sequences at or below the given folders.

    Raises InvalidInputError where a folder has none, or two have one name.
    """
    found: dict[str, Path] = {}
    for place in places:
        folders = sorted(path.parent for path in place.rglob("seqinfo.ini"))
        if not folders:
            raise InvalidInputError(
                f"{place}: expected a MOT sequence or a folder of them, found no seqinfo.ini",
                hint="a sequence is a folder with seqinfo.ini, gt/gt.txt and det/det.txt",
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


def prepare_sequences(raw: Path, folder: Path) -> str:
    """Copy what a search reads of the MOT sequences at or below `raw` into `folder`; the version of the content.

    Raises InvalidInputError where there is no sequence, two have one name, or one cannot be read.
    """
    for source in find_sequences([raw]):
        _read(source, ("det",))
        target = folder / source.name
        if target.exists():
            raise InvalidInputError(f"{source}: a second sequence {source.name}", hint="give each a name of its own")
        for name, path in zip(_NAMES, _files(source, ("det",)), strict=True):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    return content_version(folder)


_NAMES = ("seqinfo.ini", "gt/gt.txt", "det/det.txt")


def _files(folder: Path, detections: Sequence[str]) -> tuple[Path, Path, Path]:
    """Where a sequence's description, ground truth and detections are."""
    places = [place / name / "det.txt" for name in detections for place in (folder, folder.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InvalidInputError(f"{folder}: expected detections at one of {', '.join(map(str, places))}")
    return folder / "seqinfo.ini", folder / "gt" / "gt.txt", found


def _read(folder: Path, detections: Sequence[str]) -> _Recording:
    info = read_sequence_info(folder)
    _, ground_truth, found = _files(folder, detections)
    boxes = to_detections(read_boxes(found, length=info.length), info.length)
    return _Recording(info, boxes, read_boxes(ground_truth, length=info.length, identified=True))
