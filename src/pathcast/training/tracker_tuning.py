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
    SEQUENCE_FILE,
    TRUTH_FILE,
    MotBoxes,
    SequenceInfo,
    from_tracks,
    read_boxes,
    read_sequence_info,
)
from pathcast.tracking.mot_sequences import DETECTIONS_FILE, detections_file, find_sequences, read_detections
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


def prepare_sequences(raw: Path, folder: Path, detections: Sequence[str]) -> str:
    """Copy what a search reads of the MOT sequences at or below `raw` into `folder`; the version of the content.

    `detections` names folders of det.txt as TrackerSearch has them; in `folder` it is each sequence's `det`.

    Raises InvalidInputError where there is no sequence, two have one name, or one cannot be read.
    """
    for source in find_sequences([raw]):
        _read(source, detections)
        target = folder / source.name
        if target.exists():
            raise InvalidInputError(f"{source}: a second sequence {source.name}", hint="give each a name of its own")
        for name, path in zip(_NAMES, _files(source, detections), strict=True):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    return content_version(folder)


_NAMES = (SEQUENCE_FILE, str(TRUTH_FILE), DETECTIONS_FILE)


def _files(folder: Path, detections: Sequence[str]) -> tuple[Path, Path, Path]:
    """Where a sequence's description, ground truth and detections are."""
    return folder / SEQUENCE_FILE, folder / TRUTH_FILE, detections_file(folder, detections)


def _read(folder: Path, detections: Sequence[str]) -> _Recording:
    info = read_sequence_info(folder)
    found = read_detections(folder, info, detections)
    return _Recording(info, found, read_boxes(folder / TRUTH_FILE, length=info.length, identified=True))
