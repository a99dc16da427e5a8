"""Images with boxes in YOLO's text layout: `images/…/a.jpg` beside `labels/…/a.txt`.

A label row is `class x y width height`: the class is COCO's contiguous id (0-79), the centre and size are
fractions of the image. An image without a label file shows nothing of the 80 classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.average_precision import GroundTruth
from pathcast.detection.classes import CLASS_ID_OF_COCO

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_COLUMNS = 5


def image_files(directory: Path) -> list[Path]:
    """All images under `directory`/images, sorted; raises InvalidInputError where there are none."""
    found = sorted(path for path in (directory / "images").rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise InvalidInputError(
            f"{directory}: expected images under {directory / 'images'}, found none",
            hint="YOLO's text layout is images/…/a.jpg beside labels/…/a.txt",
        )
    return found


def read_labelled(directory: Path) -> Iterator[tuple[UInt8Array, GroundTruth]]:
    """RGB images (h, w, 3) with their boxes of the platform's classes, in pixels, in the order of `image_files`."""
    for path in image_files(directory):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InvalidInputError(f"{path}: not a readable image")
        labels = directory / "labels" / path.relative_to(directory / "images").with_suffix(".txt")
        yield image.astype(np.uint8, copy=False), read_labels(labels, image.shape[1], image.shape[0])


def read_labels(path: Path, width: int, height: int) -> GroundTruth:
    """The boxes of one label file; rows of other classes are left out, a missing file has none."""
    boxes: list[list[float]] = []
    class_ids: list[int] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != _COLUMNS:
            raise InvalidInputError(f"{path} row {number}: expected {_COLUMNS} columns, got {len(cells)}")
        try:
            coco_id, (x, y, w, h) = int(cells[0]), [float(cell) for cell in cells[1:]]
        except ValueError as error:
            raise InvalidInputError(f"{path} row {number}: {error}") from error
        if not all(0 <= value <= 1 for value in (x, y, w, h)):
            raise InvalidInputError(f"{path} row {number}: expected fractions of the image, got {cells[1:]}")
        if coco_id in CLASS_ID_OF_COCO:
            boxes.append([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height])
            class_ids.append(CLASS_ID_OF_COCO[coco_id])
    return GroundTruth(boxes, class_ids)
