"""`pathcast bench batch`: whole videos a second, beside Ultralytics with the same network."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA = Path(os.environ.get("PATHCAST_DATA", "../shared/data"))
_OURS, _PEER, _FITTED = "pathcast", "Ultralytics", "Ultralytics with a fitted input"


@app.command("batch", epilog="Example: pathcast bench batch --video gate.mp4 --json batch.json")
def bench_batch(
    video: Path = typer.Option(_DATA / "pets09_s2l1" / "vtest.avi", help="The video."),
    detector: Path = typer.Option(
        _DATA / "models" / "yolox_nano.onnx", help="A YOLOX ONNX file as published, which both run."
    ),
    forecaster: Path | None = typer.Option(None, help="ONNX file of a forecaster for ours; else constant velocity."),
    rounds: int = typer.Option(1, min=1, help="They take turns this often; each counts with its best round."),
    peer: bool = typer.Option(True, "--peer/--no-peer", help="Run Ultralytics too, where it is installed."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Frames a second and processor time a frame of `pathcast batch` and of Ultralytics' `track`.

    Both run the same network from the same file by onnxruntime on all cores, with and without an annotated video.
    Ours cuts the input to the video's shape; Ultralytics' runs as published, and again as if exported for this
    video. Ours forecasts and writes its tables too. Loading the models is not counted.
    """
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import PathcastError
    from pathcast.detection.yolox_import import read_yolox
    from pathcast.serving.batch.benchmark import Spent, as_ultralytics_reads_it, run_ours, run_ultralytics
    from pathcast.serving.batch.videos import open_video

    published = read_yolox(detector)
    height, width, _ = next(open_video(video).frames()).shape
    networks = {_PEER: published} if peer else {}
    fitted = published.fitted_to(width, height)
    if peer and fitted is not None and (fitted.width, fitted.height) != (published.width, published.height):
        networks[_FITTED] = fitted
    best: dict[tuple[str, bool], Spent] = {}
    progress = Progress(console=Console(stderr=True), transient=True)
    with tempfile.TemporaryDirectory() as folder, progress:
        place = Path(folder)
        contestants: dict[str, Callable[..., Spent]] = {_OURS: partial(run_ours, video, detector, forecaster)}
        for name, network in networks.items():
            file = place / f"{name}.onnx"
            file.write_bytes(as_ultralytics_reads_it(network).SerializeToString())
            contestants[name] = partial(run_ultralytics, video, file)
        runs = [(name, annotate) for annotate in (True, False) for name in contestants]
        task = progress.add_task("", total=rounds * len(runs))
        missing = ""
        for turn in range(rounds):
            for name, annotate in runs:
                progress.update(task, description=_label(name, annotate))
                out = place / f"{turn} {name} {annotate}"
                try:
                    spent = contestants[name](out, annotate=annotate)
                except PathcastError as error:
                    if name == _OURS:
                        raise
                    missing = str(error)
                else:
                    known = best.get((name, annotate))
                    best[name, annotate] = spent if known is None or spent.seconds < known.seconds else known
                progress.advance(task)
        if missing:
            progress.console.print(f"without {missing}", style="yellow", markup=False, highlight=False)
    rows = []
    for (name, annotate), spent in best.items():
        beside = best.get((_PEER, annotate)) if name == _OURS else None
        label, other = _label(name, annotate), None if beside is None else _label(_PEER, annotate)
        faster = None if beside is None else spent.frames_per_second / beside.frames_per_second
        cheaper = None if beside is None else spent.processor_ms / beside.processor_ms
        rows.append(Row(label, spent.frames_per_second, "frames/s", other, faster))
        rows.append(
            Row(f"{label}, processor", spent.processor_ms, "ms/frame", other and f"{other}, processor", cheaper)
        )
        if name == _FITTED:
            ours = best[_OURS, annotate].frames_per_second
            rows.append(Row(f"{_label(_OURS, annotate)}, over {_FITTED}", ours / spent.frames_per_second, "times"))
    report("batch", rows, json)


def _label(name: str, annotate: bool) -> str:
    return f"{name}, {'with' if annotate else 'without'} the annotated video"
