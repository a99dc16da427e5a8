from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core import Detections
from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.serving.batch.run import BatchSettings
from pathcast.tracking.settings import TrackerSettings


class BrightDetector:
    """Finds bright boxes; raises KeyboardInterrupt from a frame of one's choice on."""

    model = "bright"

    def __init__(self, fail_at_frame: int | None = None, version: str = "1") -> None:
        self._fail_at_frame, self.version = fail_at_frame, version

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        if self._fail_at_frame is not None and frame_of(images[0]) >= self._fail_at_frame:
            raise KeyboardInterrupt
        return [self._detect(image) for image in images], self.version

    def _detect(self, image: UInt8Array) -> Detections:
        bright = (image.max(axis=2) > 128).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = stats[stats[:, 4] > 40][1:, :4].astype(float)
        return Detections(np.hstack((boxes[:, :2], boxes[:, :2] + boxes[:, 2:])), [0.9] * len(boxes), [0] * len(boxes))


def picture(frame: int) -> UInt8Array:
    """Two bright boxes that walk over a dark ground, 159 x 121 pixels: odd, as some videos are."""
    image = np.full((121, 159, 3), 20, np.uint8)
    for x, y in ((5 + frame, 20), (130 - frame, 70)):
        image[y : y + 30, max(0, x) : max(0, x + 12)] = 230
    return image


def frame_of(image: UInt8Array) -> int:
    """Which picture it is, by where its upper box begins."""
    return int((image[30].max(axis=1) > 128).argmax()) - 5


def write_clip(folder: Path) -> Path:
    """70 frames as images in a new folder."""
    folder.mkdir()
    for frame in range(70):
        cv2.imwrite(str(folder / f"{frame:04d}.png"), picture(frame))
    return folder


def settings_for_walkers() -> BatchSettings:
    models = ("bright 1", "constant_velocity 1")
    return BatchSettings(Camera("walkers"), datetime(2024, 1, 1, tzinfo=UTC), models, TrackerSettings())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "walkers")


@pytest.fixture
def batch_settings() -> BatchSettings:
    return settings_for_walkers()
