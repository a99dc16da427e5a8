from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest

from pathcast.core import Detections, InvalidInputError
from pathcast.tracking.camera_motion import CameraMotion
from pathcast.tracking.settings import CameraMotionSettings, SwaySettings, TrackerSettings
from pathcast.tracking.tracker import Tracker

START = datetime(2024, 1, 1, tzinfo=UTC)


def ground() -> np.ndarray:
    """A large textured plane that the camera looks at."""
    coarse = np.random.default_rng(3).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    return cv2.resize(coarse, (1800, 1400), interpolation=cv2.INTER_CUBIC)


def view(affine: np.ndarray) -> np.ndarray:
    """What a camera of 640 x 480 sees that is moved by `affine`."""
    return cv2.warpAffine(ground(), affine @ np.array([[1, 0, -500], [0, 1, -400], [0, 0, 1]]), (640, 480))


def moved(x: float = 0.0, y: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    turn = cv2.getRotationMatrix2D((320, 240), degrees, zoom)
    turn[:, 2] += (x, y)
    return turn


@pytest.mark.parametrize(
    "affine",
    [moved(), moved(12, -7), moved(-25, 4), moved(3, 3, degrees=2.0), moved(zoom=1.03), moved(6, -2, -1.0, 0.98)],
)
def test_shift_turn_and_zoom_are_found(affine: np.ndarray) -> None:
    motion = CameraMotion(CameraMotionSettings())
    assert motion.update(view(moved())) is None
    found = motion.update(view(affine))
    assert found is not None
    corners = np.array([[0, 0, 1], [640, 0, 1], [0, 480, 1], [640, 480, 1.0]])
    assert np.abs(corners @ found.T - corners @ affine.T).max() < 1.5


def test_something_that_walks_through_the_picture_is_not_taken_for_the_camera() -> None:
    motion = CameraMotion(CameraMotionSettings())
    texture = np.random.default_rng(5).integers(0, 255, (200, 120, 3), dtype=np.uint8)
    for x in (100, 115):
        image = view(moved())
        image[150:350, x : x + 120] = texture
        found = motion.update(image)
    assert found is not None
    assert np.abs(found - moved()).max() < 0.2


@pytest.mark.parametrize("second", ["blank", "another size"])
def test_what_cannot_be_told_is_none(second: str) -> None:
    motion = CameraMotion(CameraMotionSettings())
    motion.update(view(moved()))
    image = np.zeros((480, 640, 3), np.uint8) if second == "blank" else view(moved())[:400]
    assert motion.update(image) is None


def test_a_frame_without_an_image_parts_those_around_it() -> None:
    motion = CameraMotion(CameraMotionSettings())
    motion.update(view(moved()))
    assert motion.update(None) is None
    assert motion.update(view(moved(20))) is None
    found = motion.update(view(moved(30)))
    assert found is not None
    assert found[0, 2] == pytest.approx(10, abs=1)


def panned(with_images: bool) -> int:
    """How often one of six people who stand still is taken for another while the camera jerks to and fro."""
    chosen = TrackerSettings(camera_motion=CameraMotionSettings(), sway=SwaySettings(least_objects=99))
    tracker, confused = Tracker(chosen), 0
    places = np.array([[90 + 90 * column, 120 + 130 * row] for row in range(2) for column in range(3)], float)
    for frame in range(24):
        offset = np.array([70.0 * np.sin(1.1 * frame), 20.0 * np.cos(2.3 * frame)])
        left = places + offset
        detections = Detections(np.hstack((left, left + [24, 60])), [0.9] * 6, [0] * 6)
        image = view(moved(*offset)) if with_images else None
        result = tracker.update(detections, START + timedelta(seconds=frame / 10), image)
        confused += 6 - int((result.track_ids == result.detection_indices + 1).sum())
    return confused


def test_identities_survive_a_jerking_camera_that_is_watched() -> None:
    assert panned(with_images=True) == 0
    assert panned(with_images=False) > 20


def test_an_image_that_is_none_is_refused_before_anything_changes() -> None:
    tracker = Tracker(TrackerSettings(camera_motion=CameraMotionSettings()))
    before = tracker.state()
    with pytest.raises(InvalidInputError, match="expected uint8"):
        tracker.update(Detections.empty(), START, np.zeros((4, 4), np.uint8))
    assert tracker.state() == before
