"""`pathcast bench actions`: how fast actions are told, by the number of people in view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from pathcast.core.arrays import Float32Array, UInt8Array
    from pathcast.serving.action_model import ActionFile

_GROUPS = 3


@app.command(
    "actions", epilog="Example: pathcast bench actions --model repo/actions/1/model.onnx --video a.avi --people gt.txt"
)
def bench_actions(
    video: Path = typer.Option(..., help="A video file with people."),
    people: Path = typer.Option(..., help="Boxes of its people: a MOTChallenge gt.txt of the same frames."),
    model: Path = typer.Option(..., help="A served file: ACTIONS/1/model.onnx."),
    fps: float | None = typer.Option(None, help="Frames per second, where the file is wrong."),
    rounds: int = typer.Option(3, min=1, help="Requests of each window; the fastest counts."),
    threads: int = typer.Option(1, min=1, help="CPU threads."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Milliseconds a clip, over thirds of the video's windows: those with the fewest people, some, and the most."""
    import time

    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.serving.action_model import ActionFile, actions_over_time
    from pathcast.serving.batch.videos import open_video
    from pathcast.tracking.mot_format import read_boxes

    opened, recogniser = open_video(video, fps), ActionFile(model, threads)
    seen = np.bincount(read_boxes(people, identified=True).frames, minlength=opened.expected + 1)
    timed = _Timed(recogniser, rounds, time.perf_counter)
    rate = opened.frames_per_second
    counts = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("recognising", total=opened.expected or None)
        for window in actions_over_time(
            opened.frames(),
            rate,
            timed,
            step_s=recogniser.window_s,
            name=str(video),
            on_frame=lambda: progress.advance(task),
        ):
            counts.append(float(seen[round(window.start_s * rate) + 1 : round(window.end_s * rate) + 1].mean()))
    if len(counts) < _GROUPS:
        raise InvalidInputError(f"{video}: expected {_GROUPS} windows or more, got {len(counts)}")
    rows: list[Row] = []
    milliseconds, order = 1000 * np.array(timed.seconds), np.argsort(counts, kind="stable")
    for group in np.array_split(order, _GROUPS):
        value = float(np.median(milliseconds[group]))
        name = f"{np.array(counts)[group].mean():.1f} people in view"
        first = rows[0] if rows else None
        rows.append(Row(name, value, "ms/clip", first.name if first else None, value / first.value if first else None))
    report(f"actions, {model}, {threads} thread(s)", rows, json)


class _Timed:
    """A model that notes how long each clip took, at its fastest."""

    def __init__(self, model: ActionFile, rounds: int, clock: Callable[[], float]) -> None:
        self.window_s, self.frames, self.size = model.window_s, model.frames, model.size
        self._model, self._rounds, self._clock = model, rounds, clock
        self.seconds: list[float] = []

    def with_scores(self, clips: UInt8Array) -> tuple[Float32Array, Float32Array]:
        times = []
        for _ in range(self._rounds):
            started = self._clock()
            answer = self._model.with_scores(clips)
            times.append(self._clock() - started)
        self.seconds.append(min(times))
        return answer
