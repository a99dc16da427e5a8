"""One picture of many labelled images, for people to look at before a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import write_image
from pathcast.detection.augmentation import AugmentationSettings, Sample, augmented, fitting_affine, warped
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.samples import as_sample

CELL = (416, 320)
_GREY = (128, 128, 128)
_COLOURS = ((230, 60, 60), (240, 200, 40), (60, 200, 80), (200, 80, 220), (60, 160, 240), (240, 140, 40))


def draw_sheet(
    sets: Sequence[LabelledImages], path: Path, *, vary: bool = False, count: int = 16, seed: int = 1
) -> int:
    """Write `count` images, as they are or as training varies them, with their boxes, as one picture.

    As they are, each image is drawn once at most. Returns how many were drawn. Raises PathcastError where the picture
    cannot be written.
    """
    if not cv2.haveImageWriter(f"picture{path.suffix}"):
        raise InvalidInputError(f"{path}: expected the name of a picture, such as sheet.png")
    everything = [(labelled, image) for labelled in sets for image in labelled]
    if not everything:
        raise InvalidInputError("sheet: expected images, got none")
    random = np.random.default_rng(seed)

    def draw() -> Sample:
        return as_sample(*everything[int(random.integers(len(everything)))])

    if vary:
        samples = [augmented(draw, AugmentationSettings(), *CELL, random) for _ in range(count)]
    else:
        chosen = random.choice(len(everything), min(count, len(everything)), replace=False)
        sources = (as_sample(*everything[index]) for index in chosen.tolist())
        samples = [warped(source, fitting_affine(source, *CELL), *CELL) for source in sources]
    write_tiles(path, [drawn(sample) for sample in samples], columns=int(np.ceil(np.sqrt(len(samples)))))
    return len(samples)


def write_tiles(path: Path, cells: Sequence[UInt8Array], columns: int) -> None:
    """Write pictures of one size (RGB) side by side as one."""
    filled = [*cells, *[np.zeros_like(cells[0])] * (-len(cells) % columns)]
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    write_image(path, np.vstack(rows))


def drawn(sample: Sample) -> UInt8Array:
    """The pixels with boxes and class names; ignored boxes are grey and have none."""
    pixels = sample.pixels.copy()
    for box, tags in zip(sample.boxes.round().astype(int).tolist(), sample.tags.tolist(), strict=True):
        ignored = tags[0] < 0
        colour = _GREY if ignored else _COLOURS[tags[0]]
        cv2.rectangle(pixels, box[:2], box[2:], colour, 1)
        if not ignored:
            place = (box[0], max(box[1] - 3, 9))
            cv2.putText(pixels, CLASS_NAMES[tags[0]], place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA)
    return np.asarray(pixels, np.uint8)
