"""What `evaluate signs` and `evaluate actions` print, write and draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathcast.cli.output_file import write_json

if TYPE_CHECKING:
    from pathcast.recognition.classification import ClassificationScores

_LABELLED_CLASSES = 45
_SHOWN_CLASSES = 12


def report(
    title: str,
    scores: ClassificationScores,
    samples_per_s: float,
    json: Path | None,
    plots: Path | None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print the scores with their weakest classes; with a path, write the JSON and the confusion matrix."""
    from rich.console import Console
    from rich.table import Table

    low, high = scores.accuracy_interval
    table = Table(title=f"{title}: {scores.samples} samples, {samples_per_s:.0f} samples/s")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_row("accuracy (95% confidence)", f"{scores.accuracy:.2%} ({low:.2%} to {high:.2%})")
    table.add_row("balanced accuracy", f"{scores.balanced_accuracy:.2%}")
    table.add_row("macro F1", f"{scores.macro_f1:.4f}")
    table.add_row("expected calibration error", f"{scores.calibration_error:.4f}")
    console = Console(emoji=False)
    console.print(table)
    weakest = sorted(scores.classes.items(), key=lambda item: item[1].f1)
    weakest = [(name, each) for name, each in weakest if each.samples and each.f1 < 1][:_SHOWN_CLASSES]
    if weakest:
        by_class = Table(title="weakest classes")
        by_class.add_column("class")
        for heading in ("precision", "recall", "F1", "samples"):
            by_class.add_column(heading, justify="right")
        for name, each in weakest:
            by_class.add_row(name, f"{each.precision:.3f}", f"{each.recall:.3f}", f"{each.f1:.3f}", str(each.samples))
        console.print(by_class)
    if plots is not None:
        write_confusion(plots / "confusion.png", scores)
    write_json(json, {**as_json(scores, samples_per_s), **(more or {})})


def as_json(scores: ClassificationScores, samples_per_s: float) -> dict[str, Any]:
    """The keys that other programs read, see docs/benchmarks.md."""
    return {
        "accuracy": scores.accuracy,
        "accuracy_interval": scores.accuracy_interval,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "calibration_error": scores.calibration_error,
        "classes": scores.classes,
        "samples": scores.samples,
        "samples_per_s": samples_per_s,
    }


def write_confusion(path: Path, scores: ClassificationScores) -> None:
    """The confusion matrix as a picture: rows the true classes, as shares of their samples."""
    import numpy as np
    from matplotlib.figure import Figure

    names, table = list(scores.classes), scores.confusion
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 3 + 0.22 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares**0.5, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(table > 0).tolist():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=6, color=colour)
    if len(names) <= _LABELLED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set(xlabel="said", ylabel="true", title=f"{scores.samples} samples, accuracy {scores.accuracy:.2%}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
