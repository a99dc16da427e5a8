"""The files of a batch run: written segment by segment, so that a killed run goes on at the last whole one.

While a run is unfinished, `OUT/unfinished` holds the files of each segment and `progress`, which says how many of
them are whole and what was remembered after the last. Whatever else lies there is of a segment that a kill cut
short, and goes. A finished run has the joined files in OUT, and `batch.json`, which is written last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pathcast.core.array_codec import decode_state, encode_state
from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.file_lock import file_lock
from pathcast.core.observation import Observation
from pathcast.serving.batch.tables import (
    FORECASTS,
    SCORES,
    TRACKS,
    forecasts_table,
    join_tables,
    mot_text,
    scores_table,
    tracks_table,
    write_table,
)
from pathcast.serving.drawing import Annotator
from pathcast.serving.mp4 import Mp4Writer, join_videos

MOT_FILE, VIDEO_FILE, REPORT_FILE = "tracks.txt", "annotated.mp4", "batch.json"
TABLES: Mapping[str, tuple[pa.Schema, Callable[[Sequence[Observation]], pa.Table]]] = {
    "tracks.parquet": (TRACKS, tracks_table),
    "forecasts.parquet": (FORECASTS, forecasts_table),
    "forecast_scores.parquet": (SCORES, scores_table),
}
RESULT_FILES = (MOT_FILE, *TABLES, VIDEO_FILE)
_KIND, _VERSION = "batch", 1
_UNFINISHED, _PROGRESS = "unfinished", "progress"
_OF_A_RUN = re.compile(rf"{_PROGRESS}(\.new)?|(\d{{6}}|joined)-.+|\..+")
"""Names in the folder of an unfinished run; hidden files are left by file systems and desktops."""

_OTHER_FOLDER = "name another folder with --out"
_RESTART = f"{_OTHER_FOLDER}, or replace what is there with --restart"


@dataclass(slots=True)
class Progress:
    """How far a run has come: whole segments, frames in them, seconds spent by stage, and the parts' memories."""

    run: str
    segments: int = 0
    frames: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    analyzer: bytes = b""
    annotator: bytes = b""


def refuse_results_as_sources(sources: Iterable[Path], folders: Iterable[Path]) -> None:
    """Raises InvalidInputError where a run into one of the folders would write over or remove one of the sources."""
    written, unfinished = set(), set()
    for folder in folders:
        written |= {(folder / name).resolve() for name in (REPORT_FILE, *RESULT_FILES)}
        unfinished.add((folder / _UNFINISHED).resolve())
    for source in sources:
        place = source.resolve()
        if place in written or not unfinished.isdisjoint(place.parents):
            raise InvalidInputError(f"{source}: the results would be written over it", hint=_OTHER_FOLDER)


class BatchFolder:
    """The folder `out` of one run, whose identity is `run`: the same for the same input, models and settings."""

    def __init__(self, out: Path, run: str) -> None:
        self.out = out
        self._run = run
        self._work = out / _UNFINISHED

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other process works on this folder; PathcastError where one does, or it cannot be written.

        Raises InvalidInputError where the folder holds files that no run has left, which one would replace.
        """
        busy = PathcastError(f"{self.out}: another run is writing there", hint=f"wait for it, or {_OTHER_FOLDER}")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with file_lock(self.out / ".lock", busy):
                self._refuse_foreign()
                yield
        except OSError as error:
            raise PathcastError(f"{self.out}: {error}", hint="check permissions and free space") from error

    def report(self) -> dict[str, Any] | None:
        """What the finished run said of itself, or None where it is not finished.

        Raises InvalidInputError where the folder holds the results of another run.
        """
        path = self.out / REPORT_FILE
        if not path.is_file():
            return None
        try:
            report = read_report(path)
        except ValueError as error:
            raise InvalidInputError(f"{path}: damaged: {error}", hint=_RESTART) from error
        self._check(str(report.get("run")))
        shutil.rmtree(self._work, ignore_errors=True)
        return report

    def open(self) -> Progress:
        """Where to begin: at the start, or after the last whole segment of the same run."""
        self._work.mkdir(parents=True, exist_ok=True)
        progress = Progress(self._run)
        path = self._work / _PROGRESS
        if path.is_file():
            try:
                values, _ = decode_state(path.read_bytes(), _KIND, _VERSION)
            except InvalidInputError as error:
                raise InvalidInputError(f"{path}: damaged: {error.message}", hint=_RESTART) from error
            progress = Progress(**values)
            self._check(progress.run)
        whole = {_PROGRESS} | {f"{number:06d}-{name}" for number in range(progress.segments) for name in RESULT_FILES}
        for file in self._work.iterdir():
            if file.name not in whole:
                file.unlink()
        return progress

    def clear(self) -> None:
        """Forget every run of this folder."""
        # While it is there, what is left is known to be a run's.
        self._work.mkdir(exist_ok=True)
        for name in (REPORT_FILE, *RESULT_FILES):
            (self.out / name).unlink(missing_ok=True)
        shutil.rmtree(self._work)

    def part(self, segment: int, name: str) -> Path:
        """A file of one segment."""
        return self._work / f"{segment:06d}-{name}"

    def save(self, progress: Progress) -> None:
        """Make everything written so far count."""
        fields = {name: getattr(progress, name) for name in progress.__dataclass_fields__}
        temporary = self._work / f"{_PROGRESS}.new"
        with temporary.open("wb") as file:
            file.write(encode_state(_KIND, _VERSION, fields, {}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._work / _PROGRESS)

    def finish(self, segments: int, report: Mapping[str, Any], *, video: bool) -> dict[str, int]:
        """Join the segments, write the report, and clear away; returns the rows of each table."""
        numbers = range(segments)
        with self._fresh(MOT_FILE) as path, path.open("wb") as file:
            for number in numbers:
                file.write(self.part(number, MOT_FILE).read_bytes())
        rows = {}
        for name, (schema, _) in TABLES.items():
            with self._fresh(name) as path:
                rows[name] = join_tables([self.part(number, name) for number in numbers], path, schema)
        if video and segments:
            with self._fresh(VIDEO_FILE) as path:
                join_videos([self.part(number, VIDEO_FILE) for number in numbers], path)
        with self._fresh(REPORT_FILE) as path:
            path.write_text(json.dumps({"run": self._run, **report, "rows": rows}, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(self._work)
        return rows

    def _check(self, run: str) -> None:
        if run != self._run:
            raise InvalidInputError(
                f"{self.out}: holds results of another input, another model or other settings", hint=_RESTART
            )

    def _refuse_foreign(self) -> None:
        if self._work.is_dir():
            foreign = [path for path in self._work.iterdir() if not (_OF_A_RUN.fullmatch(path.name) and path.is_file())]
        elif _is_of_a_run(self.out / REPORT_FILE):
            foreign = []
        else:
            foreign = [self.out / name for name in (*RESULT_FILES, REPORT_FILE) if (self.out / name).exists()]
        if foreign:
            raise InvalidInputError(
                f"{self.out}: expected a new folder or that of a run, found other files, such as {foreign[0]}",
                hint=f"{_OTHER_FOLDER}, or move them away",
            )

    def _fresh(self, name: str) -> _Replacing:
        return _Replacing(self._work / f"joined-{name}", self.out / name)


def read_report(path: Path) -> dict[str, Any]:
    """What a finished run said of itself. Raises ValueError where that is damaged."""
    report = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(report, dict):
        raise ValueError(f"expected an object, got {type(report).__name__}")
    return report


def _is_of_a_run(path: Path) -> bool:
    """Whether a run has left the report, which may be damaged."""
    if not path.exists():
        return False
    try:
        return "run" in read_report(path)
    except ValueError:
        return True


class _Replacing:
    """Inside, a path to write to; afterwards the file stands whole at its target."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._path.replace(self._target)


class SegmentWriter:
    """Writes the files of one segment: frames as they come, tables when it is closed."""

    def __init__(self, folder: BatchFolder, segment: int, frames_per_second: float, annotator: Annotator | None):
        self._folder, self._segment, self._annotator = folder, segment, annotator
        self._observations: list[Observation] = []
        self._video = Mp4Writer(folder.part(segment, VIDEO_FILE), frames_per_second)

    def draw(self, image: UInt8Array, observation: Observation) -> UInt8Array | None:
        """Take an observation in, and draw it on its image, in place."""
        self._observations.append(observation)
        return None if self._annotator is None else self._annotator.draw(image, observation)

    def encode(self, drawn: UInt8Array | None) -> None:
        """Add a drawn image to the video."""
        if drawn is not None:
            self._video.write(drawn)

    def close(self) -> None:
        """Write what is left; the segment's files are whole afterwards."""
        self._video.close()
        self._folder.part(self._segment, MOT_FILE).write_text(mot_text(self._observations), encoding="utf-8")
        for name, (_, table) in TABLES.items():
            write_table(table(self._observations), self._folder.part(self._segment, name))

    def abandon(self) -> None:
        """End the encoder of a segment that will not be whole."""
        self._video.abandon()
