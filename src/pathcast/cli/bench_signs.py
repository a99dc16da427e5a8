"""`pathcast bench signs`: images a second of the sign classifier, here and through Triton, and in eight bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.classify import SHIPPED, open_classifier
from pathcast.cli.output_file import file_option
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.core.arrays import UInt8Array

_BATCHES = (1, 4, 16)
_WARM_UP = 3


@app.command("signs", epilog="Example: pathcast bench signs --triton --int8 int8/1/model.onnx --data gtsrb")
def bench_signs(
    model: Path = typer.Option(SHIPPED, help="The exported file; default: what comes with the project."),
    int8: Path | None = typer.Option(None, help="The same in eight bits, beside it."),
    data: Path | None = typer.Option(None, help="GTSRB, or a prepared folder: also the accuracy on its test part."),
    triton: bool = typer.Option(False, "--triton", help="Also through the running platform's Triton."),
    name: str | None = typer.Option(None, help="With --triton: the served model's name; default: signs."),
    rounds: int = typer.Option(30, min=1, help="Requests of each kind; the median and the fastest count."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="With --triton: the local platform's state."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Images a second in requests of 1, 4 and 16, on one thread; with data, the accuracy of each file."""
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.cli.evaluate_signs import read_part

    ways = {"onnxruntime": open_classifier(model, False, None if triton else name, state_dir)}
    if int8 is not None:
        ways["onnxruntime int8"] = open_classifier(int8, False, None, state_dir)
    if triton:
        ways["Triton"] = open_classifier(None, True, name, state_dir)
    side = ways["onnxruntime"].side
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("classifying", total=len(_BATCHES) * (rounds + _WARM_UP))
        for size in _BATCHES:
            images = np.random.default_rng(size).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
            spent: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(_WARM_UP + rounds):
                for way, classifier in ways.items():
                    seconds = _timed(classifier.classify, images)
                    if turn >= _WARM_UP:
                        spent[way].append(seconds)
                progress.advance(task)
            rows += _rates(size, spent)
    if data is not None:
        images, labels = read_part(data, "test")
        first: Row | None = None
        for way, classifier in ways.items():
            accuracy = float((classifier.classify(images)[0].argmax(axis=1) == labels).mean())
            rows.append(Row(f"{way}, accuracy on {len(labels)} images", accuracy, "fraction"))
            if first is not None:
                rows.append(Row(f"{way}, accuracy lost", 100 * (first.value - accuracy), "points", first.name))
            first = first or rows[-1]
    report(f"signs, {model}", rows, json)


def _timed(run: Callable[[UInt8Array], Any], images: UInt8Array) -> float:
    started = time.perf_counter()
    run(images)
    return time.perf_counter() - started


def _rates(size: int, spent: dict[str, list[float]]) -> list[Row]:
    """Median and fastest of each way; the other ways beside the first."""
    from statistics import median

    rows: list[Row] = []
    for kind, of in (("median", median), ("fastest", min)):
        first: Row | None = None
        for way, seconds in spent.items():
            rate = size / of(seconds)
            beside = (None, None) if first is None else (first.name, rate / first.value)
            rows.append(Row(f"{way}, requests of {size}, {kind}", rate, "images/s", *beside))
            first = first or rows[-1]
    return rows
