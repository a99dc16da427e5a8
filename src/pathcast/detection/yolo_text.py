"""Images with boxes in YOLO's text layout: `images/…/a.jpg` beside `labels/…/a.txt`.

A label row is `class x y width height`: the class is a number that `yolo_names` finds the name of, the centre and size
are fractions of the image. An image without a label file shows nothing of the classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.video import IMAGE_SUFFIXES
from pathcast.detection.classes import ClassOf, class_id_of
from pathcast.detection.labelled import (
    BAD_LABELS,
    UNREADABLE,
    Fault,
    LabelledImage,
    LabelledImages,
    OnFault,
    image_size,
    one_file_each,
    other_classes,
    refuse,
)
from pathcast.detection.yolo_names import NumberedClasses, read_class_names, write_class_names

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


def read_yolo(directory: Path, fault: OnFault = refuse, class_of: ClassOf = class_id_of) -> LabelledImages:
    """The set as labelled images; every image is opened for its size.

    Faults are unreadable images, label files that two images share, and rows that are none or whose class has no name.
    Label files without an image are left alone. Boxes of classes that the detector does not have are left out.
    """
    found, paths, classes = [], image_files(directory), read_class_names(directory)
    files = [_labels_of(directory, path) for path in paths]
    images_of, others = Counter(files), Counter[str]()
    for path, labels in zip(paths, files, strict=True):
        name = path.relative_to(directory).as_posix()
        try:
            width, height = image_size(path)
        except InvalidInputError as error:
            fault(Fault(name, UNREADABLE, error.message))
            width = height = 0
        if images_of[labels] > 1 and labels.is_file():
            fault(Fault(name, BAD_LABELS, f"{labels}: that of {images_of[labels]} images, which differ in the suffix"))
        boxes, class_ids = _read_rows(
            labels,
            classes,
            class_of,
            others,
            lambda text, name=name: fault(Fault(name, BAD_LABELS, text)),  # type: ignore[misc]
        )
        if width:
            xyxy = np.array(boxes, np.float64).reshape(-1, 4) * [width, height, width, height]
            found.append(LabelledImage(name, width, height, xyxy, class_ids, camera=directory.name))
    return LabelledImages(directory, tuple(found), about={"class_names": classes.source, **other_classes(others)})


def _read_rows(
    path: Path, classes: NumberedClasses, class_of: ClassOf, others: Counter[str], fault: Callable[[str], None]
) -> tuple[list[list[float]], list[int]]:
    """Boxes xyxy in fractions of the image and their classes; a missing file has none, other classes are counted."""
    boxes: list[list[float]] = []
    class_ids: list[int] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.is_file() else []
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
            kind, (x, y, w, h) = int(cells[0]), [float(cell) for cell in cells[1:]]
        except ValueError as error:
            fault(f"{path} row {number}: {error}")
            continue
        if not all(0 <= value <= 1 for value in (x, y, w, h)):
            fault(f"{path} row {number}: expected fractions of the image, got {cells[1:]}")
        elif kind not in classes.names:
            fault(f"{path} row {number}: expected the number of a class ({classes.source}), got {kind}")
        elif (class_id := class_of(classes.names[kind])) is None:
            others[classes.names[kind]] += 1
        else:
            boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            class_ids.append(class_id)
    return boxes, class_ids


def write_yolo(directory: Path, labelled: LabelledImages) -> Mapping[str, int]:
    """Write label files below `directory`/labels and `data.yaml`, boxes clipped; how many were left out and why.

    Left out are ignored boxes, which the layout cannot mark, and those that have nothing inside the image.
    """
    left_out = {"ignored": 0, "outside the image": 0}
    targets = {image.name: _labels_of(directory, directory / image.name) for image in labelled}
    one_file_each(targets)
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
            rows.append(f"{class_id} {numbers}\n")
        target.write_text("".join(rows), encoding="utf-8")
    write_class_names(directory)
    return left_out


def _labels_of(directory: Path, image: Path) -> Path:
    return directory / "labels" / image.relative_to(directory / "images").with_suffix(".txt")
