"""Images with boxes in YOLO's text layout: `images/…/a.jpg` beside `labels/…/a.txt`.

A label row is `class x y width height`: the class is COCO's contiguous id (0-79), the centre and size are
fractions of the image. An image without a label file shows nothing of the 80 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_ID_OF_COCO, COCO_CLASS_IDS
from pathcast.detection.labelled import (
    BAD_LABELS,
    IMAGE_SUFFIXES,
    UNREADABLE,
    Fault,
    LabelledImage,
    LabelledImages,
    OnFault,
    image_size,
    one_label_file_each,
    refuse,
)

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


def read_yolo(directory: Path, fault: OnFault = refuse) -> LabelledImages:
    """The set as labelled images; every image is opened for its size.

    Faults are unreadable images, and rows that are none. Label files without an image are left alone.
    """
    found, paths = [], image_files(directory)
    for path in paths:
        name, labels = path.relative_to(directory).as_posix(), _labels_of(directory, path)
        try:
            width, height = image_size(path)
        except InvalidInputError as error:
            fault(Fault(name, UNREADABLE, error.message))
            width = height = 0
        boxes, class_ids = _read_rows(labels, lambda text, name=name: fault(Fault(name, BAD_LABELS, text)))  # type: ignore[misc]
        if width:
            xyxy = np.array(boxes, np.float64).reshape(-1, 4) * [width, height, width, height]
            found.append(LabelledImage(name, width, height, xyxy, class_ids, camera=directory.name))
    return LabelledImages(directory, tuple(found))


def _read_rows(path: Path, fault: Callable[[str], None]) -> tuple[list[list[float]], list[int]]:
    """Boxes xyxy in fractions of the image and their classes; a missing file has none, other classes are left out."""
    boxes: list[list[float]] = []
    class_ids: list[int] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except UnicodeDecodeError as error:
        fault(f"{path}: not a text file: {error}")
        return boxes, class_ids
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != _COLUMNS:
            fault(f"{path} row {number}: expected {_COLUMNS} columns, got {len(cells)}")
            continue
        try:
            coco_id, (x, y, w, h) = int(cells[0]), [float(cell) for cell in cells[1:]]
        except ValueError as error:
            fault(f"{path} row {number}: {error}")
            continue
        if not all(0 <= value <= 1 for value in (x, y, w, h)):
            fault(f"{path} row {number}: expected fractions of the image, got {cells[1:]}")
        elif coco_id in CLASS_ID_OF_COCO:
            boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            class_ids.append(CLASS_ID_OF_COCO[coco_id])
    return boxes, class_ids


def write_yolo(directory: Path, labelled: LabelledImages) -> Mapping[str, int]:
    """Write label files below `directory`/labels, ids as COCO's, boxes clipped; how many were left out and why.

    Left out are ignored boxes, which the layout cannot mark, and those that have nothing inside the image.
    """
    left_out = {"ignored": 0, "outside the image": 0}
    targets = {image.name: _labels_of(directory, directory / image.name) for image in labelled}
    one_label_file_each(targets)
    for image in labelled:
        target = targets[image.name]
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for (x1, y1, x2, y2), class_id, ignored in zip(
            image.xyxy.tolist(), image.class_ids.tolist(), image.ignored.tolist(), strict=True
        ):
            x1, x2 = (min(max(edge / image.width, 0.0), 1.0) for edge in (x1, x2))
            y1, y2 = (min(max(edge / image.height, 0.0), 1.0) for edge in (y1, y2))
            if ignored or x2 <= x1 or y2 <= y1:
                left_out["ignored" if ignored else "outside the image"] += 1
                continue
            numbers = " ".join(f"{value:.10g}" for value in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
            rows.append(f"{COCO_CLASS_IDS[class_id]} {numbers}\n")
        target.write_text("".join(rows), encoding="utf-8")
    return left_out


def _labels_of(directory: Path, image: Path) -> Path:
    return directory / "labels" / image.relative_to(directory / "images").with_suffix(".txt")
