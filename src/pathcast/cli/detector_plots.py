"""Pictures of a detector's scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pathcast.core.detections import Detections
from pathcast.detection.average_precision import GroundTruth, precision_at_recall
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.confusion import confusion


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
    table = confusion(found, truth)
    matrix = Figure(figsize=(6.5, 5.5), layout="constrained")
    axes = matrix.subplots()
    axes.imshow(np.log1p(table), cmap="Blues")
    for (row, column), value in np.ndenumerate(table):
        axes.text(column, row, str(value), ha="center", va="center", fontsize=8)
    places = range(len(CLASS_NAMES) + 1)
    axes.set_xticks(places, [*CLASS_NAMES, "missed"], rotation=45, ha="right")
    axes.set_yticks(places, [*CLASS_NAMES, "nothing there"])
    axes.set(xlabel="found", ylabel="true", title="boxes of score 0.3 and more, IoU 0.50")
    matrix.savefig(folder / "confusion.png", dpi=120)
