"""A small set in GTSRB's official layout, with pictures that a classifier can tell apart."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def picture(label: int, seed: int, side: int = 40) -> np.ndarray:
    """A coloured disc with bars by the class's number on a grey ground (side, side, 3)."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (side, side, 3)).astype(np.uint8)
    colour = (40 + 5 * label, 200 - 4 * label, 60 + 40 * (label % 4))
    cv2.circle(image, (side // 2, side // 2), side // 2 - 4, colour, -1)
    for bar in range(label % 5 + 1):
        cv2.line(image, (10, 10 + 5 * bar), (side - 10, 10 + 5 * bar), (255, 255, 255), 1 + label % 3)
    return image


def write_gtsrb(
    folder: Path, classes: Sequence[int] = (0, 1, 14), *, tracks: int = 3, frames: int = 3, test: int = 2
) -> Path:
    """Write `folder`/GTSRB with so many tracks of each class and test pictures of each; returns `folder`."""
    training, final = folder / "GTSRB" / "Final_Training" / "Images", folder / "GTSRB" / "Final_Test" / "Images"
    for label in classes:
        place = training / f"{label:05}"
        place.mkdir(parents=True)
        rows = [HEADER]
        for track in range(tracks):
            for frame in range(frames):
                name = f"{track:05}_{frame:05}.ppm"
                cv2.imwrite(str(place / name), picture(label, 100 * track + frame))
                rows.append(f"{name};40;40;4;4;35;35;{label}")
        (place / f"GT-{label:05}.csv").write_text("\n".join(rows) + "\n")
    if test:
        final.mkdir(parents=True)
        rows = [HEADER]
        for number, label in enumerate(classes for _ in range(test)):
            for offset, each in enumerate(label):
                name = f"{number * len(classes) + offset:05}.ppm"
                cv2.imwrite(str(final / name), picture(each, 9000 + number))
                rows.append(f"{name};40;40;4;4;35;35;{each}")
        (final.parent / "GT-final_test.csv").write_text("\n".join(rows) + "\n")
    return folder


def as_archive(folder: Path, archive: Path) -> Path:
    """The set below `folder` as a tar.gz."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "GTSRB", "GTSRB")
    return archive
