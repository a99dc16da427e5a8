"""One video through detector, tracker and forecaster: read, analysed and written at the same time.

Threads, each on its own frames: one decodes ahead, two detect (so that the detector, which may use more threads, never
waits for frames), one tracks and forecasts, one draws and encodes. The results depend on the input, the models and the
settings alone; a run that was killed and started again writes the same files as one that was not.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.serving.batch.segments import BatchFolder, Progress, SegmentWriter
from pathcast.serving.batch.videos import Video
from pathcast.serving.drawing import Annotator
from pathcast.serving.frame_analyzer import Detector, Forecaster, FrameAnalyzer
from pathcast.tracking.settings import TrackerSettings

CHUNK_FRAMES = 16
SEGMENT_CHUNKS = 16
"""A kill costs at most these frames' work: a few seconds."""

_CHUNKS_AHEAD = 2

_Detected = tuple[list[Detections], str]
"""What was found in each image, and by which version."""

_Chunk = tuple[list[UInt8Array], _Detected]


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How to analyse: `camera` tells the units, `start_at` is the time of the first frame (aware UTC).

    `models` says which models these are, "name version" each; another choice is another run.
    """

    camera: Camera
    start_at: datetime
    models: tuple[str, ...]
    tracker: TrackerSettings
    annotate: bool = True


def run_batch(
    video: Video,
    out: Path,
    detector: Detector,
    forecaster: Forecaster,
    settings: BatchSettings,
    *,
    restart: bool = False,
    advance: Callable[[int], None] = lambda frames: None,
) -> dict[str, Any]:
    """Analyse `video` into the folder `out`, or go on where a run of the same was cut short.

    Two threads ask `detector`, each for other frames, and not always in their order.

    Calls `advance` with the number of frames done, those of earlier runs first. Returns what `batch.json` says:
    `frames`, `resumed_from_frame`, `duration_s` and `fps` of this run, `stage_ms` per frame over all of it: the time
    in which a stage was at work, what a run that was cut short had begun included. A finished run is not repeated.
    Raises InvalidInputError where `out` holds results of something else, PathcastError where another process
    writes there, or a model answers that is none of the settings'.
    """
    folder = BatchFolder(out, run_identity(video, settings))
    with folder.alone():
        return _run_in(folder, video, detector, forecaster, settings, restart, advance)


def _run_in(
    folder: BatchFolder,
    video: Video,
    detector: Detector,
    forecaster: Forecaster,
    settings: BatchSettings,
    restart: bool,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    if restart:
        folder.clear()
    report = folder.report()
    if report is not None:
        advance(report["frames"])
        return report
    progress = folder.open()
    advance(progress.frames)
    started, resumed_from = time.perf_counter(), progress.frames
    _Run(video, folder, detector, forecaster, settings, progress, advance).work()
    if not progress.frames:
        raise InvalidInputError(f"{video.path}: not one frame can be decoded")
    seconds = time.perf_counter() - started
    done = progress.frames - resumed_from
    report = {
        "source": video.path.name,
        "models": list(settings.models),
        "frames": progress.frames,
        "frames_claimed": video.expected,
        "resumed_from_frame": resumed_from,
        "duration_s": round(seconds, 3),
        "fps": round(done / seconds, 2),
        "stage_ms": {name: round(1e3 * spent / progress.frames, 3) for name, spent in progress.seconds.items()},
    }
    report["rows"] = folder.finish(progress.segments, report, video=settings.annotate)
    return report


class _Run:
    """The work of one start of a run; `progress` is brought forward with every whole segment."""

    def __init__(
        self,
        video: Video,
        folder: BatchFolder,
        detector: Detector,
        forecaster: Forecaster,
        settings: BatchSettings,
        progress: Progress,
        advance: Callable[[int], None],
    ) -> None:
        self._video, self._folder, self._settings = video, folder, settings
        self._progress, self._advance = progress, advance
        self._seconds: defaultdict[str, float] = defaultdict(float, progress.seconds)
        self._at_work: defaultdict[str, int] = defaultdict(int)
        self._counted_until: dict[str, float] = {}
        self._seconds_lock = Lock()
        self._frames = video.frames(progress.frames)
        self._detector, self._found = detector, _Found(detector.model)
        camera = settings.camera
        self._analyzer = FrameAnalyzer(
            self._found, forecaster, lambda _: camera, self._stage, settings.tracker, statistics=False
        )
        self._annotator = Annotator(camera) if settings.annotate else None
        if progress.analyzer:
            self._analyzer.restore(progress.analyzer)
        if progress.annotator and self._annotator is not None:
            self._annotator.restore(progress.annotator)
        self._writer: SegmentWriter | None = None
        self._writing_failed = False

    def work(self) -> None:
        """Read, analyse and write until the video ends."""
        try:
            with (
                ThreadPoolExecutor(1, "read") as reading,
                ThreadPoolExecutor(_CHUNKS_AHEAD, "find") as finding,
                ThreadPoolExecutor(1, "write") as writing,
            ):
                self._work(self._chunks(reading, finding), writing)
        finally:
            self._analyzer.close()
            if self._writer is not None:
                self._writer.abandon()

    def _work(self, chunks: Iterator[_Chunk], writing: ThreadPoolExecutor) -> None:
        waiting: deque[Future[None]] = deque()
        first = self._progress.frames
        try:
            for number, (images, found) in enumerate(chunks):
                if number and number % SEGMENT_CHUNKS == 0:
                    waiting.append(writing.submit(self._in_turn, self._close_segment, first, self._state()))
                observations = self._analyze(first, images, found)
                first += len(images)
                waiting.append(writing.submit(self._in_turn, self._write, images, observations))
                while len(waiting) > _CHUNKS_AHEAD:
                    waiting.popleft().result()
                self._advance(len(images))
            waiting.append(writing.submit(self._in_turn, self._close_segment, first, self._state()))
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _chunks(self, reading: ThreadPoolExecutor, finding: ThreadPoolExecutor) -> Iterator[_Chunk]:
        ahead = deque(finding.submit(self._detect, reading.submit(self._read)) for _ in range(_CHUNKS_AHEAD))
        while (chunk := ahead.popleft().result())[0]:
            ahead.append(finding.submit(self._detect, reading.submit(self._read)))
            yield chunk

    def _read(self) -> list[UInt8Array]:
        with self._stage("decode"):
            return list(islice(self._frames, CHUNK_FRAMES))

    def _detect(self, read: Future[list[UInt8Array]]) -> _Chunk:
        images = read.result()
        if not images:
            return images, ([], "")
        with self._stage("detect"):
            return images, self._detector.detect(images)

    def _analyze(self, first: int, images: Sequence[UInt8Array], found: _Detected) -> list[Observation]:
        self._found.found = found
        rate, camera_id = self._video.frames_per_second, self._settings.camera.camera_id
        frames = []
        for number, image in enumerate(images, start=first):
            captured_at = self._settings.start_at + timedelta(seconds=number / rate)
            frames.append(Frame(camera_id, number, captured_at, image.shape[1], image.shape[0], b""))
        observations = []
        for frame, outcome in zip(frames, self._analyzer.analyze(frames, images), strict=True):
            if not isinstance(outcome, Observation):
                raise PathcastError(f"{self._video.path}, frame {frame.sequence}: {outcome}")
            observations.append(outcome)
        self._check_models(observations)
        return observations

    def _check_models(self, observations: Sequence[Observation]) -> None:
        """A model that was loaded on the way would be mixed into the results of the one before it."""
        used = {f"{seen.detector} {seen.detector_version}" for seen in observations}
        used |= {f"{each.model} {each.model_version}" for seen in observations for each in seen.forecasts}
        if other := sorted(used.difference(self._settings.models)):
            raise PathcastError(
                f"{self._video.path}: this run is of {', '.join(self._settings.models)}, now {other[0]} answers",
                hint="begin again with --restart",
            )

    def _state(self) -> bytes:
        return self._analyzer.state([self._settings.camera.camera_id])

    def _in_turn(self, work: Callable[..., None], *given: object) -> None:
        """Nothing is written behind a piece that failed: its segment would count as whole."""
        if self._writing_failed:
            return
        try:
            work(*given)
        except BaseException:
            self._writing_failed = True
            raise

    def _write(self, images: Sequence[UInt8Array], observations: Sequence[Observation]) -> None:
        if self._writer is None:
            rate = self._video.frames_per_second
            self._writer = SegmentWriter(self._folder, self._progress.segments, rate, self._annotator)
        for image, observation in zip(images, observations, strict=True):
            with self._stage("draw"):
                drawn = self._writer.draw(image, observation)
            with self._stage("encode"):
                self._writer.encode(drawn)

    def _close_segment(self, frames: int, analyzer: bytes) -> None:
        if self._writer is None:
            return
        with self._stage("write"):
            self._writer.close()
        self._writer = None
        self._progress.segments += 1
        self._progress.frames = frames
        with self._seconds_lock:
            self._progress.seconds = dict(self._seconds)
        self._progress.analyzer = analyzer
        self._progress.annotator = b"" if self._annotator is None else self._annotator.state()
        self._folder.save(self._progress)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._count(name, 1)
        try:
            yield
        finally:
            self._count(name, -1)

    def _count(self, name: str, started: int) -> None:
        """Time counts once, however many threads are in the stage."""
        with self._seconds_lock:
            now = time.perf_counter()
            if self._at_work[name]:
                self._seconds[name] += now - self._counted_until[name]
            self._counted_until[name] = now
            self._at_work[name] += started


class _Found:
    """The analyzer's Detector: the real one was asked before, in another thread, and `found` is what it said."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.found: _Detected = ([], "")

    def detect(self, images: Sequence[UInt8Array]) -> _Detected:
        return self.found


def run_identity(video: Video, settings: BatchSettings) -> str:
    """What tells this run from those of another input, other models or other settings."""
    described = {
        "video": video.fingerprint(),
        "camera": repr(settings.camera),
        "start_at": settings.start_at.isoformat(),
        "models": settings.models,
        "tracker": settings.tracker,
        "annotate": settings.annotate,
        "chunks": [CHUNK_FRAMES, SEGMENT_CHUNKS],
    }
    return hashlib.sha256(msgspec.json.encode(described)).hexdigest()[:16]
