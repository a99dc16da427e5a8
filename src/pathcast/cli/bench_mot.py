"""`pathcast bench mot`: what the endpoint costs over its models, and whether streams disturb each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from pathcast.core.arrays import Float64Array
    from pathcast.serving.mot.benchmark import Latencies

_STREAM_FRAMES = 100
_KINDS = {"pixels": "pixels", "jpeg": "JPEG"}


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
    requests, dropping overlapping boxes. "Added" is the endpoint's p50 or p99 less theirs; the two requests by
    themselves, of an image that is decoded and fitted, stand beside it. "Raw" is of all rounds' frames as they came,
    with whatever else went on on the machine; else a frame counts with its best round. "Frame by frame" is the p99 of
    the differences, which holds the noise of both: beside it what that is where nothing was added, between two halves
    of alone's rounds.
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
    rows += _frame_by_frame(measured)
    one = "frames with another result than alone"
    rows.append(Row(f"{streams} streams at once, {one}", company.different, f"of {company.frames}"))
    rate = "one after the other, frame rate"
    rows.append(Row(rate, company.alone_frames_per_second, "frames/s"))
    ratio = company.frames_per_second / company.alone_frames_per_second
    rows.append(Row(f"{streams} streams at once, frame rate", company.frames_per_second, "frames/s", rate, ratio))
    report("mot", rows, json)


def _latencies(ms: Latencies, share: int, label: str) -> Iterator[Row]:
    """The percentile `share` of all of them, and how much higher the endpoint's is."""
    values = {field.name: _percentile(getattr(ms, field.name), share) for field in fields(ms)}
    for kind, shown in _KINDS.items():
        name, alone = f"detector + forecaster alone, {shown}, {label}", values[f"{kind}_alone"]
        yield Row(name, alone, "ms")
        yield Row(f"mot, {shown}, {label}", values[kind], "ms", name, values[kind] / alone)
        yield Row(f"added, {shown}, {label}", values[kind] - alone, "ms", name)
    name = f"detector + forecaster, requests only, {label}"
    yield Row(name, values["requests"], "ms")
    for kind, shown in _KINDS.items():
        yield Row(f"added to requests only, {shown}, {label}", values[kind] - values["requests"], "ms", name)


def _frame_by_frame(rounds: Sequence[Latencies]) -> Iterator[Row]:
    """p99 of the differences of single frames, and of those between two halves of the rounds of the same thing."""
    from pathcast.serving.mot.benchmark import Latencies

    best = Latencies.best(rounds)
    for kind, shown in _KINDS.items():
        added = getattr(best, kind) - getattr(best, f"{kind}_alone")
        yield Row(f"added, {shown}, frame by frame, p99", _percentile(added, 99), "ms")
    if len(rounds) < 2:
        return
    pairs = len(rounds) // 2
    odd, even = Latencies.best(rounds[1::2]), Latencies.best(rounds[: 2 * pairs : 2])
    for kind, shown in _KINDS.items():
        nothing = getattr(odd, f"{kind}_alone") - getattr(even, f"{kind}_alone")
        yield Row(f"nothing added, {shown}, frame by frame, p99", _percentile(nothing, 99), "ms")


def _percentile(values: Float64Array, share: int) -> float:
    import numpy as np

    return float(np.percentile(values, share))
