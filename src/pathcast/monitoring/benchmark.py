"""Do the drift checks see what they should, and only that? Real clips, as they are and changed on purpose.

A clip is cut in windows: the first half of them is the reference, of the second half each is judged. Then the first
of these is played again, changed. Frames go the platform's way: the analyzer, the writers, the database, the check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import psycopg

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.monitoring.check import Finding, check_signals
from pathcast.monitoring.definition import Monitoring
from pathcast.serving.frame_analyzer import Detector, FrameAnalyzer
from pathcast.serving.local_models import ConstantVelocity
from pathcast.storage.writers import write_observations
from pathcast.tracking.settings import TrackerSettings

FRAMES_PER_WINDOW = 36
MOST_WINDOWS = 14
WARM_UP_FRAMES = 15
_BATCH = 16
_START = datetime(2026, 1, 1, tzinfo=UTC)

Change = Callable[[UInt8Array], UInt8Array]


def _scaled(image: UInt8Array, factor: float) -> UInt8Array:
    height, width = image.shape[:2]
    top, left = (int(side * (1 - 1 / factor) / 2) for side in (height, width))
    part = image[top : height - top, left : width - left]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


CHANGES: Mapping[str, Change] = {
    "0.6 times as bright": lambda image: cv2.convertScaleAbs(image, alpha=0.6),
    "1.4 times as bright": lambda image: cv2.convertScaleAbs(image, alpha=1.4),
    "1.5 times as large": lambda image: _scaled(image, 1.5),
    "out of focus": lambda image: cv2.GaussianBlur(image, (0, 0), 2.0),
}


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames (h, w, 3) RGB of one size, `frames_per_second` apart."""

    name: str
    images: Sequence[UInt8Array]
    frames_per_second: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A window of a clip and what was found in it. `change` is None where it was as recorded."""

    clip: str
    change: str | None
    window: int
    findings: tuple[Finding, ...]

    @property
    def alarms(self) -> list[str]:
        return [finding.signal for finding in self.findings if finding.alarm]


def judge_clip(
    connection: psycopg.Connection, clip: Clip, detector: Detector, monitoring: Monitoring, progress: Callable[[], None]
) -> Iterator[Judged]:
    """Every window of the clip's second half as it is, then the first of them with each change.

    The reference of a window are those before it, as many as are in the first half. `progress` is called for each
    frame that is analysed.
    """
    count = min(MOST_WINDOWS, len(clip.images) // FRAMES_PER_WINDOW) // 2 * 2
    size, first = len(clip.images) // count, count // 2
    length = size / clip.frames_per_second * timedelta(seconds=1)
    definition = replace(monitoring, window=length, reference=first * length)

    def judged(camera_id: str, change: str | None, window: int) -> Judged:
        compared = check_signals(connection, "detector", definition, _START + (window + 1) * length, [camera_id])
        return Judged(clip.name, change, window, tuple(each.finding for each in compared))

    recorded = list(_observed(clip, detector, clip.name, range(count * size), None, progress))
    write_observations(connection, recorded)
    for window in range(first, count):
        yield judged(clip.name, None, window)
    for number, (name, change) in enumerate(CHANGES.items()):
        camera_id = f"{clip.name}-changed-{number}"
        changed = range(first * size, (first + 1) * size)
        before = [replace(each, camera_id=camera_id) for each in recorded[: first * size]]
        write_observations(connection, [*before, *_observed(clip, detector, camera_id, changed, change, progress)])
        yield judged(camera_id, name, first)


def frames_to_analyze(clip: Clip) -> int:
    """How often `judge_clip` calls `progress`."""
    count = min(MOST_WINDOWS, len(clip.images) // FRAMES_PER_WINDOW) // 2 * 2
    size = len(clip.images) // count
    return count * size + len(CHANGES) * (size + WARM_UP_FRAMES)


def _observed(
    clip: Clip, detector: Detector, camera_id: str, numbers: range, change: Change | None, progress: Callable[[], None]
) -> Iterator[Observation]:
    """What the analyzer says of these frames, changed; the frames before them, unchanged, warm its tracker up."""
    analyzer = FrameAnalyzer(detector, ConstantVelocity(), Camera, lambda _: nullcontext(), TrackerSettings())
    start = max(0, numbers.start - WARM_UP_FRAMES)
    height, width = clip.images[0].shape[:2]
    try:
        for batch in _batches(range(start, numbers.stop), _BATCH):
            images = [clip.images[number] for number in batch]
            pixels = [
                change(image) if change is not None and number in numbers else image
                for number, image in zip(batch, images, strict=True)
            ]
            frames = [Frame(camera_id, number, _moment(clip, number), width, height, b"") for number in batch]
            for outcome in analyzer.analyze(frames, pixels):
                progress()
                if isinstance(outcome, Observation) and outcome.sequence in numbers:
                    # Under the family's name, whatever the file's is; forecasts are no signal of the detector.
                    yield replace(outcome, detector="detector", forecasts=(), scores=())
    finally:
        analyzer.close()


def _moment(clip: Clip, number: int) -> datetime:
    return _START + number / clip.frames_per_second * timedelta(seconds=1)


def _batches(numbers: range, size: int) -> Iterator[range]:
    """`numbers` in parts of `size`."""
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]
