"""A recorded interval once more, through any detector and forecaster, by the analyzer's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from itertools import islice

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.detections import Detections
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.serving.frame_analyzer import Detector, Forecaster, FrameAnalyzer
from pathcast.tracking.settings import TrackerSettings

CHUNK_FRAMES = 16


class RecordedDetector:
    """The detector of a recording: it gives again, frame by frame, what was found then."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.model = observations[0].detector if observations else ""
        self._found = iter([(each.detections, each.detector_version) for each in observations])

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        """The detections of the next `len(images)` frames, and the version that made the last of them."""
        found = list(islice(self._found, len(images)))
        return [detections for detections, _ in found], found[-1][1] if found else ""


def recorded_frames(observations: Iterable[Observation]) -> list[Frame]:
    """The frames of a recording without their pixels, which a RecordedDetector does not look at."""
    return [
        Frame(each.camera_id, each.sequence, each.captured_at, each.width, each.height, b"") for each in observations
    ]


def replay(
    frames: Iterable[Frame],
    camera: Camera,
    detector: Detector,
    forecaster: Forecaster,
    *,
    advance: Callable[[int], None] = lambda frames: None,
) -> list[Observation]:
    """What the analyzer makes of one camera's frames, in time order, that it meets for the first time.

    Frames without a JPEG are for detectors that need no pixels. What the analyzer refuses (a frame that cannot be
    decoded, a repeat) is left out, as it was when it was recorded. Calls `advance` with the number of frames done.
    """
    analyzer = FrameAnalyzer(detector, forecaster, lambda _: camera, lambda _: nullcontext(), TrackerSettings())
    blank = np.zeros((1, 1, 3), np.uint8)
    observations: list[Observation] = []
    remaining = iter(frames)
    try:
        while chunk := list(islice(remaining, CHUNK_FRAMES)):
            outcomes = analyzer.analyze(chunk, [None if frame.jpeg else blank for frame in chunk])
            observations += [outcome for outcome in outcomes if isinstance(outcome, Observation)]
            advance(len(chunk))
    finally:
        analyzer.close()
    return observations
