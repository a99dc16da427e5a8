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
from pathcast.detection.classes import CLASS_ID_OF_COCO, COCO_CLASS_IDS
from pathcast.detection.labelled import IMAGE_SUFFIXES, LabelledImage, LabelledImages, image_size

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
        truth = read_labels(_labels_of(directory, path), image.shape[1], image.shape[0])
        yield image.astype(np.uint8, copy=False), truth


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


def read_yolo(directory: Path) -> LabelledImages:
    """The set as labelled images; every image is opened for its size."""
    found = []
    for path in image_files(directory):
        width, height = image_size(path)
        truth = read_labels(_labels_of(directory, path), width, height)
        name = path.relative_to(directory).as_posix()
        found.append(LabelledImage(name, width, height, truth.xyxy, truth.class_ids, camera=directory.name))
    return LabelledImages(directory, tuple(found))


def write_yolo(directory: Path, labelled: LabelledImages) -> None:
    """Write label files below `directory`/labels, ids as COCO's; boxes are clipped, ignored ones left out."""
    for image in labelled:
        inner = Path(image.name)
        inner = inner.relative_to("images") if inner.parts[0] == "images" else inner
        target = directory / "labels" / inner.with_suffix(".txt")
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for (x1, y1, x2, y2), class_id, ignored in zip(
            image.xyxy.tolist(), image.class_ids.tolist(), image.ignored.tolist(), strict=True
        ):
            x1, x2 = (min(max(edge / image.width, 0.0), 1.0) for edge in (x1, x2))
            y1, y2 = (min(max(edge / image.height, 0.0), 1.0) for edge in (y1, y2))
            if ignored or x2 <= x1 or y2 <= y1:
                continue
            numbers = " ".join(f"{value:.10g}" for value in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
            rows.append(f"{COCO_CLASS_IDS[class_id]} {numbers}\n")
        target.write_text("".join(rows), encoding="utf-8")


def _labels_of(directory: Path, image: Path) -> Path:
    return directory / "labels" / image.relative_to(directory / "images").with_suffix(".txt")
