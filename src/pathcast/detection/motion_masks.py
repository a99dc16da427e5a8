"""Boxes from masks of moving pixels, in the layout of CDnet 2014 (Goyette et al., http://changedetection.net).

`input/in%06d.jpg` beside `groundtruth/gt%06d.png`, where 255 moves, 170 is a boundary nobody can tell, 85 lies outside
the region of interest, 50 is shadow and 0 stands still.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import read_image
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import BAD_LABELS, Fault, LabelledImage, LabelledImages, OnFault, refuse

MOVING, OUTSIDE = 255, 85
FRAME_RATE = 25.0
"""Frames per second of the camera, which the layout does not tell; it spaces the frames, no more."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LEAST_PIXELS = 40
_CAR = CLASS_NAMES.index("car")


def read_motion_masks(directory: Path, fault: OnFault = refuse) -> LabelledImages:
    """Every moving blob as one car; all moving objects of the place must be cars.

    Blobs of fewer than 40 pixels, or that touch the border of the image or of the region of interest and so are
    seen in part, are marked as ignored. Objects that hide each other make one box: the labels are as good as that.
    """
    found = []
    for path in sorted((directory / "groundtruth").glob("gt*.png")):
        mask = read_image(path, cv2.IMREAD_GRAYSCALE)
        image = directory / "input" / f"in{path.stem[2:]}.jpg"
        if mask is None or not image.is_file():
            name = path.relative_to(directory).as_posix()
            fault(Fault(name, BAD_LABELS, f"expected a readable mask and its image {image}"))
            continue
        boxes, ignored = boxes_of_mask(np.asarray(mask, np.uint8))
        height, width = mask.shape
        found.append(
            LabelledImage(
                image.relative_to(directory).as_posix(),
                width,
                height,
                boxes,
                np.full(len(boxes), _CAR),
                ignored=ignored,
                camera=directory.name,
                captured_at=_EPOCH + timedelta(seconds=int(path.stem[2:]) / FRAME_RATE),
            )
        )
    if not found:
        raise InvalidInputError(f"{directory}: expected masks groundtruth/gt*.png, found none")
    return LabelledImages(directory, tuple(found))


def boxes_of_mask(mask: UInt8Array) -> tuple[list[list[float]], list[bool]]:
    """Boxes xyxy in pixels of the connected moving blobs of a mask (h, w), and which of them to ignore."""
    moving = (mask == MOVING).astype(np.uint8)
    outside = cv2.dilate((mask == OUTSIDE).astype(np.uint8), np.ones((3, 3), np.uint8))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(moving, connectivity=8)
    height, width = mask.shape
    boxes, ignored = [], []
    for blob in range(1, count):
        left, top, blob_width, blob_height, pixels = (int(value) for value in statistics[blob])
        right, bottom = left + blob_width, top + blob_height
        cut = left <= 1 or top <= 1 or right >= width - 1 or bottom >= height - 1
        cut = cut or bool((outside[top:bottom, left:right] & (labels[top:bottom, left:right] == blob)).any())
        boxes.append([float(left), float(top), float(right), float(bottom)])
        ignored.append(cut or pixels < _LEAST_PIXELS)
    return boxes, ignored
