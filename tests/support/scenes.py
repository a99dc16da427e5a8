"""A street of simple shapes: upright figures and lying boxes that walk over textured ground, with their true boxes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import LabelledImage, LabelledImages

SIZE = (320, 240)
PERSON, CAR = CLASS_NAMES.index("person"), CLASS_NAMES.index("car")

# Class, width, height, lane (y of the upper edge), pixels a frame, and colour.
_WALKERS = (
    (PERSON, 30, 84, 10, 3.0, (230, 180, 60)),
    (CAR, 90, 34, 100, -4.0, (60, 220, 200)),
    (PERSON, 32, 80, 150, -2.5, (240, 90, 160)),
    (CAR, 84, 32, 200, 5.0, (200, 240, 90)),
)


def boxes(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The true boxes (n, 4) and classes (n,) of a frame, those that are wholly in the picture."""
    rows, classes = [], []
    for index, (kind, width, height, top, speed, _) in enumerate(_WALKERS):
        left = (70 * index + speed * number) % (SIZE[0] + width) - width
        if 0 <= left <= SIZE[0] - width:
            rows.append([left, top, left + width, top + height])
            classes.append(kind)
    return np.array(rows, np.float64).reshape(-1, 4).round(), np.array(classes, np.int64)


def picture(number: int) -> np.ndarray:
    """The frame (h, w, 3), BGR."""
    ground = np.random.default_rng(5).integers(40, 120, (SIZE[1] // 4, SIZE[0] // 4, 3), dtype=np.uint8)
    pixels = cv2.resize(ground, SIZE, interpolation=cv2.INTER_NEAREST)
    places, classes = boxes(number)
    for box, kind in zip(places.astype(int), classes, strict=True):
        colour = next(walker[5] for walker in _WALKERS if walker[0] == kind and walker[3] == box[1])
        cv2.rectangle(pixels, tuple(box[:2].tolist()), tuple((box[2:] - 1).tolist()), colour, -1)
    return pixels


def write_scene_video(path: Path, frames: int, fps: float) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, SIZE)
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return path


def labelled_scenes(folder: Path, frames: int) -> LabelledImages:
    """The street as pictures of one camera, a second apart, with their boxes."""
    images = []
    for number in range(frames):
        places, classes = boxes(number)
        name = f"{number:04d}.png"
        cv2.imwrite(str(folder / name), picture(number))
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        images.append(LabelledImage(name, *SIZE, places, classes, camera="street", captured_at=moment))
    return LabelledImages(folder, tuple(images))
