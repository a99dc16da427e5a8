"""Pictures of what a detector does: its scores, and its boxes beside the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.detections import Detections
from pathcast.detection.augmentation import Sample, fitting_affine, warped
from pathcast.detection.average_precision import GroundTruth, precision_at_recall
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.confusion import confusion
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.samples import as_sample
from pathcast.training.detector_sheet import CELL, drawn, write_tiles

SHOWN_SCORE = 0.3
_SAMPLES = 6


def write_plots(folder: Path, found: Sequence[Detections], truth: Sequence[GroundTruth]) -> None:
    """Write `folder`/precision_recall.png (IoU .50) and `folder`/confusion.png (scores from .3)."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    curves = Figure(figsize=(6, 5), layout="constrained")
    axes = curves.subplots()
    for name, precision in precision_at_recall(found, truth).items():
        axes.plot(np.linspace(0, 1, len(precision)), precision, label=f"{name} {precision.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision by recall, IoU 0.50")
    axes.legend(title="class and AP50")
    curves.savefig(folder / "precision_recall.png", dpi=120)
    table = confusion(found, truth, score=SHOWN_SCORE)
    matrix = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = matrix.subplots()
    axes.imshow(np.log1p(table), cmap="Blues")
    for (row, column), value in np.ndenumerate(table):
        axes.text(column, row, str(value), ha="center", va="center", fontsize=8)
    places = range(len(CLASS_NAMES) + 1)
    axes.set_xticks(places, [*CLASS_NAMES, "missed"], rotation=45, ha="right")
    axes.set_yticks(places, [*CLASS_NAMES, "nothing there"])
    axes.set(xlabel="found", ylabel="true", title=f"boxes of score {SHOWN_SCORE:g} and more, IoU 0.50")
    matrix.savefig(folder / "confusion.png", dpi=120)


def write_samples(path: Path, labelled: LabelledImages, found: Sequence[Detections], count: int = _SAMPLES) -> None:
    """Write one picture of `count` images, spread over the set: the true boxes left, those found right."""
    chosen = np.unique(np.linspace(0, len(labelled) - 1, min(count, len(labelled))).round().astype(int)).tolist()
    cells = []
    for index in chosen:
        truth, seen = as_sample(labelled, labelled.images[index]), found[index]
        strong = seen.scores >= SHOWN_SCORE
        tags = np.stack([seen.class_ids[strong], np.full(strong.sum(), -1)], axis=1)
        guess = Sample(truth.pixels, seen.xyxy[strong].astype(np.float64), tags)
        cells += [_titled(truth, "true"), _titled(guess, "found")]
    write_tiles(path, cells, columns=2)


def _titled(sample: Sample, title: str) -> UInt8Array:
    pixels = drawn(warped(sample, fitting_affine(sample, *CELL), *CELL))
    cv2.putText(pixels, title, (6, CELL[1] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return pixels
