"""Frames in, observations out: detect, track, forecast and score, for many cameras at once.

Detection is batched over all frames at hand. Tracking and forecasting go in waves that hold at most one
frame of each camera, so that every camera's frames are taken in order and one forecaster call serves all
cameras of a wave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from pathcast.core.array_codec import decode_state, encode_state
from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.classifications import Classifications
from pathcast.core.clock import to_nanoseconds
from pathcast.core.detections import Detections
from pathcast.core.errors import PathcastError
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.core.track import FrameTracks
from pathcast.forecasting.ledger import Due, ForecastLedger
from pathcast.serving.blocks import whole_blocks
from pathcast.serving.detection_classifier import DetectionClassifier
from pathcast.serving.frame_statistics import FrameStatistics, mean_appearance, measure_frame
from pathcast.serving.remote_models import ForecastBatch
from pathcast.tracking.settings import TrackerSettings
from pathcast.tracking.tracker import Tracker

_OUT_OF_SIGHT = 1e6
"""So far, in a camera's units, is nobody who is seen: 1,000 km, or as many times the frame's height."""
REMEMBERED_FRAMES = 512

_KIND, _VERSION = "analyzer", 1

StageTimer = Callable[[str], AbstractContextManager[object]]


class Detector(Protocol):
    """What finds objects: see RemoteDetector."""

    model: str

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]: ...


class Forecaster(Protocol):
    """What predicts paths: see RemoteForecaster."""

    served: bool

    def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch: ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame that cannot be analysed, and why; `late`: a newer one of its camera came before it."""

    reason: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A frame that was analysed before: a producer's retry."""


Outcome = Observation | Rejected | Duplicate


@dataclass(slots=True)
class _Session:
    """What is remembered of one camera.

    `recent` holds the capture times of its last frames, ns, ascending; `seen_by` is the detector's version.
    """

    camera: Camera
    tracker: Tracker
    ledger: ForecastLedger
    recent: Int64Array
    seen_by: str = ""


@dataclass(slots=True)
class _Work:
    """A frame on its way to an observation; `positions` (len(tracks), 2) in the camera's units."""

    frame: Frame
    session: _Session
    detections: Detections
    tracks: FrameTracks
    positions: Float64Array
    image: UInt8Array
    statistics: FrameStatistics | None
    due: Due | None = None
    forecasts: tuple[Forecast, ...] = ()
    scores: tuple[ForecastScore, ...] = ()
    classifications: tuple[Classifications, ...] = ()


class FrameAnalyzer:
    """Holds one tracker and one forecast ledger per camera; nothing is shared between cameras.

    `cameras` gives a camera by the frames' camera id; results bear the camera's own id. `stage` times the
    stages decode, detect, track, classify and forecast. The results depend on the frames and the models alone, not
    on how frames are grouped into calls. Without `classifier` no camera's wish for one is heard. With `statistics`
    observations say how bright and how sharp their frames are, which the drift checks want to know.
    """

    def __init__(
        self,
        detector: Detector,
        forecaster: Forecaster,
        cameras: Callable[[str], Camera],
        stage: StageTimer,
        tracker_settings: TrackerSettings,
        classifier: DetectionClassifier | None = None,
        *,
        statistics: bool = True,
    ) -> None:
        self._detector = detector
        self._forecaster = forecaster
        self._cameras = cameras
        self._stage = stage
        self._tracker_settings = tracker_settings
        self._classifier = classifier
        self._statistics = statistics
        self._sessions: dict[str, _Session] = {}
        self._decoders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")

    def analyze(self, frames: Sequence[Frame], pixels: Sequence[UInt8Array | None] = ()) -> list[Outcome]:
        """One outcome for each frame, in the order given; each camera's frames must be in time order.

        `pixels` holds, for each frame, its image (h, w, 3) RGB where that is known and no JPEG is to be decoded.

        Raises ServiceUnavailableError when a model cannot be reached. If it was the detector, nothing has
        changed; else the frames are tracked and lack their forecasts, and to repeat them the analyzer must be
        rebuilt from its last `state`.
        """
        recent = {frame.camera_id: self._session(frame.camera_id).recent for frame in frames}
        outcomes: list[Outcome | None] = [self._refuse(frame) for frame in frames]
        rows = [row for row, outcome in enumerate(outcomes) if outcome is None]
        known = {row: image for row, image in enumerate(pixels) if image is not None}
        with self._stage("decode"):
            decode = map if len(rows) < 2 else self._decoders.map
            images = list(decode(lambda row: known[row] if row in known else decode_rgb(frames[row]), rows))
        for row, image in zip(rows, images, strict=True):
            if isinstance(image, Rejected):
                outcomes[row] = image
        rows = [row for row in rows if outcomes[row] is None]
        pictures = [image for image in images if not isinstance(image, Rejected)]
        # Now, while the images are in the processor's cache; where the detector runs here, its work drives them out.
        statistics = [measure_frame(image) if self._statistics else None for image in pictures]
        try:
            with self._stage("detect"):
                found, version = self._detector.detect(pictures)
        except PathcastError:
            for camera_id, times in recent.items():
                self._sessions[camera_id].recent = times
            raise
        for wave in _waves([frames[row].camera_id for row in rows]):
            work = [
                self._track(frames[rows[item]], found[item], pictures[item], statistics[item], version) for item in wave
            ]
            self._classify(work)
            with self._stage("forecast"):
                self._forecast(work)
            for item, done in zip(wave, work, strict=True):
                outcomes[rows[item]] = self._observation(done, version)
        return [outcome for outcome in outcomes if outcome is not None]

    def state(self, camera_ids: Iterable[str]) -> bytes:
        """What is remembered of these cameras, exact; cameras without a frame so far are left out."""
        sessions, arrays = {}, {}
        for camera_id in sorted(set(camera_ids) & self._sessions.keys()):
            session = self._sessions[camera_id]
            sessions[camera_id] = [session.tracker.state(), session.ledger.state()]
            arrays[camera_id] = session.recent
        seen_by = {camera_id: self._sessions[camera_id].seen_by for camera_id in sessions}
        values = {"forecaster_served": self._forecaster.served, "sessions": sessions, "seen_by": seen_by}
        return encode_state(_KIND, _VERSION, values, arrays)

    def restore(self, state: bytes) -> tuple[str, ...]:
        """Take up where `state` was taken; returns its cameras. Raises InvalidInputError on damaged bytes.

        A camera whose calibration has come or gone since then keeps its identities, but its positions have
        another unit, so its trajectories start again. Tracks go on with the tracker's settings of now.
        """
        values, arrays = decode_state(state, _KIND, _VERSION)
        self._forecaster.served = self._forecaster.served or values["forecaster_served"]
        for camera_id, (tracker_state, ledger_state) in values["sessions"].items():
            camera = self._cameras(camera_id)
            ledger = ForecastLedger.restore(ledger_state)
            if ledger.units != camera.units:
                ledger = ForecastLedger(camera.camera_id, camera.units)
            tracker = Tracker.restore(tracker_state, self._tracker_settings)
            seen_by = values.get("seen_by", {}).get(camera_id, "")
            self._sessions[camera_id] = _Session(camera, tracker, ledger, arrays[camera_id], seen_by)
        return tuple(values["sessions"])

    def forget(self, camera_id: str) -> None:
        """Drop what is remembered of a camera; its next frame is its first."""
        self._sessions.pop(camera_id, None)

    def close(self) -> None:
        """End the decoding threads."""
        self._decoders.shutdown()

    def _session(self, camera_id: str) -> _Session:
        if camera_id not in self._sessions:
            camera = self._cameras(camera_id)
            self._sessions[camera_id] = _Session(
                camera,
                Tracker(self._tracker_settings),
                ForecastLedger(camera.camera_id, camera.units),
                np.empty(0, np.int64),
            )
        return self._sessions[camera_id]

    def _refuse(self, frame: Frame) -> Rejected | Duplicate | None:
        """Duplicates of remembered frames, and frames older than the camera's newest; None takes the frame."""
        session = self._session(frame.camera_id)
        moment = to_nanoseconds(frame.captured_at)
        if len(session.recent) and moment <= session.recent[-1]:
            if moment in session.recent:
                return Duplicate()
            reason = f"captured_at {frame.captured_at.isoformat()} is older than the camera's newest frame"
            return Rejected(reason, late=True)
        session.recent = np.concatenate((session.recent[-REMEMBERED_FRAMES + 1 :], [moment]))
        return None

    def _track(
        self, frame: Frame, detections: Detections, image: UInt8Array, statistics: FrameStatistics | None, version: str
    ) -> _Work:
        """Tracks that stand on the horizon or next to it, so at no place that one could see, are left out."""
        session = self._sessions[frame.camera_id]
        with self._stage("track"):
            if session.seen_by != version:
                session.tracker.forget_looks()
                session.seen_by = version
            tracks = session.tracker.update(detections, frame.captured_at, image)
            positions = session.camera.positions(tracks.xyxy, frame.height)
            in_sight = (np.abs(positions) < _OUT_OF_SIGHT).all(axis=1)
            if not in_sight.all():
                rows = np.flatnonzero(in_sight)
                tracks, positions = tracks.select(rows), positions[rows]
        return _Work(frame, session, detections, tracks, positions, image, statistics)

    def _classify(self, work: Sequence[_Work]) -> None:
        asked = [(item, wanted) for item in work if (wanted := item.session.camera.classify) and len(item.detections)]
        if self._classifier is None or not asked:
            return
        with self._stage("classify"):
            said = self._classifier.classify([(wanted, item.detections, item.image) for item, wanted in asked])
        for (item, _), each in zip(asked, said, strict=True):
            item.classifications = each

    def _forecast(self, work: Sequence[_Work]) -> None:
        for item in work:
            item.due, item.scores = item.session.ledger.advance(item.frame.captured_at, item.tracks, item.positions)
        due = [(item, item.due) for item in work if item.due is not None]
        if not due:
            return
        observed, neighbours = zip(*(map(whole_blocks, each.in_metres()) for _, each in due), strict=True)
        answer = self._forecaster.forecast(np.concatenate(observed), np.concatenate(neighbours))
        first = 0
        for (item, each), block in zip(due, observed, strict=True):
            rows = slice(first, first + len(each.track_ids))
            first += len(block)
            item.forecasts = item.session.ledger.record(
                each, answer.paths[rows], answer.log_probs[rows], answer.model, answer.model_version
            )

    def _observation(self, work: _Work, detector_version: str) -> Observation:
        frame, seen = work.frame, work.detections
        brightness, sharpness = work.statistics or (None, None)
        if seen.embeddings is not None:
            # Long, and of no use to those who read observations; their mean is, to the drift checks.
            seen = Detections(seen.xyxy, seen.scores, seen.class_ids)
        return Observation(
            camera_id=work.session.camera.camera_id,
            sequence=frame.sequence,
            captured_at=frame.captured_at,
            width=frame.width,
            height=frame.height,
            detector=self._detector.model,
            detector_version=detector_version,
            detections=seen,
            tracks=work.tracks,
            positions=work.positions,
            units=work.session.camera.units,
            forecasts=work.forecasts,
            scores=work.scores,
            traceparent=frame.traceparent,
            brightness=brightness,
            sharpness=sharpness,
            classifications=work.classifications,
            appearance=mean_appearance(work.detections, work.tracks),
        )


def decode_rgb(frame: Frame) -> UInt8Array | Rejected:
    """The frame's pixels (h, w, 3) RGB, or why there are none."""
    try:
        image = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        return Rejected(f"JPEG: {error}")
    if image is None or image.shape[:2] != (frame.height, frame.width):
        return Rejected("JPEG: cannot be decoded" if image is None else f"JPEG: decoded to {image.shape}")
    pixels: UInt8Array = image
    return pixels


def _waves(camera_ids: Sequence[str]) -> list[list[int]]:
    """Group indices so that each group holds a camera at most once, in order.

    >>> _waves(["a", "b", "a", "c", "a"])
    [[0, 1, 3], [2], [4]]
    """
    waves: list[list[int]] = []
    taken: dict[str, int] = {}
    for index, camera_id in enumerate(camera_ids):
        wave = taken.get(camera_id, 0)
        taken[camera_id] = wave + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append(index)
    return waves
