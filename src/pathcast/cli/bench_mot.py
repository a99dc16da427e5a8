"""`pathcast bench mot`: what the endpoint costs over its models, and whether streams disturb each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from pathcast.core.arrays import Float64Array
    from pathcast.serving.mot.benchmark import Latencies

_STREAM_FRAMES = 100


@app.command("mot", epilog="Example: pathcast bench mot --video gate.mp4 --json mot.json")
def bench_mot(
    video: Path | None = typer.Option(None, help="A clip; default: the demo's, in the data folder."),
    frames: int = typer.Option(100, min=50, help="How many of its frames are timed."),
    rounds: int = typer.Option(20, min=1, help="How often; every frame counts with its best round, and with all."),
    streams: int = typer.Option(8, min=2, help="Clients at once."),
    fps: float = typer.Option(7, min=0.1, help="The clip's frame rate."),
    state_dir: Path = typer.Option(Path(".pathcast"), file_okay=False, help="The running platform's state."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Time frames on the running platform's Triton, with the detector and the forecaster that it serves.

    "Alone" is the two without the endpoint, from the same frame to detections and paths: decoding, fitting, both
    requests, dropping overlapping boxes. "Added" is, frame by frame, the endpoint's time less that; the two requests by
    themselves, of an image that is decoded and fitted, stand beside it. "Raw" is the p99 of all rounds' frames as they
    came, with whatever else went on on the machine; else a frame counts with its best round.
    """
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.settings import load_settings
    from pathcast.serving.mot.benchmark import STAGGER, Latencies, measure_company, measure_latencies, read_clip

    address = load_settings(state_dir).triton_grpc
    clip = video or Path(os.environ.get("PATHCAST_DATA", "../shared/data")) / "pets09_s2l1" / "vtest.avi"
    images = read_clip(clip, max(frames, _STREAM_FRAMES + STAGGER * (streams - 1)))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("one stream", total=(1 + rounds) * frames)
        measured = measure_latencies(address, images[:frames], fps, rounds, lambda: progress.advance(task))
        few = images[: _STREAM_FRAMES + STAGGER * (streams - 1)]
        task = progress.add_task(f"{streams} streams", total=2 * streams * _STREAM_FRAMES)
        company = measure_company(address, few, fps, streams, lambda: progress.advance(task))
    best, every = Latencies.best(measured), Latencies.every(measured)
    rows = [*_latencies(best, 50, "p50"), *_latencies(best, 99, "p99"), *_latencies(every, 99, "raw p99")]
    one = "frames with another result than alone"
    rows.append(Row(f"{streams} streams at once, {one}", company.different, f"of {company.frames}"))
    rate = "one after the other, frame rate"
    rows.append(Row(rate, company.alone_frames_per_second, "frames/s"))
    ratio = company.frames_per_second / company.alone_frames_per_second
    rows.append(Row(f"{streams} streams at once, frame rate", company.frames_per_second, "frames/s", rate, ratio))
    report("mot", rows, json)


def _latencies(ms: Latencies, share: int, label: str) -> Iterator[Row]:
    """The percentile `share` of all of them, and of what the endpoint adds frame by frame."""
    import numpy as np

    def at(values: Float64Array) -> float:
        return float(np.percentile(values, share))

    frames = (("pixels", ms.pixels_alone, ms.pixels), ("JPEG", ms.jpeg_alone, ms.jpeg))
    for kind, alone, endpoint in frames:
        name, value = f"detector + forecaster alone, {kind}, {label}", at(alone)
        yield Row(name, value, "ms")
        yield Row(f"mot, {kind}, {label}", at(endpoint), "ms", name, at(endpoint) / value)
        yield Row(f"added, {kind}, {label}", at(endpoint - alone), "ms", name)
    name = f"detector + forecaster, requests only, {label}"
    yield Row(name, at(ms.requests), "ms")
    for kind, _, endpoint in frames:
        yield Row(f"added to requests only, {kind}, {label}", at(endpoint - ms.requests), "ms", name)
