"""`pathcast bench drift`: whether the drift checks see a changed clip, and leave an unchanged one alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.label import SHIPPED
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from pathcast.monitoring.benchmark import Clip, Judged

# Name: the file or folder in the data folder, its rate as recorded, and every how many frames one is taken.
CLIPS = {
    "car-detection": ("videos/car-detection.mp4", 12.5, 1),
    "one-by-one": ("videos/one-by-one-person-detection.mp4", 10.0, 2),
    "sobral-1": ("videos/sobral/video1.avi", 15.0, 1),
    "sobral-2": ("videos/sobral/video2.avi", 25.0, 2),
    "cdnet-highway": ("cdnet_highway/input", 10.0, 1),
    "vtest": ("pets09_s2l1/vtest.avi", 7.0, 1),
}


@app.command("drift", epilog="Example: pathcast bench drift --data ../shared/data --clip vtest --json drift.json")
def bench_drift(
    data: Path | None = typer.Option(None, help="The folder with the clips; PATHCAST_DATA by default."),
    clip: list[str] = typer.Option([], help="Only this clip; may be given often."),
    detector: Path = typer.Option(SHIPPED, help="The detector's ONNX file."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Play real clips through the analyzer into a database of their own, as they are and changed; judge every window.

    A clip's first half is the reference. Each window of the second half should raise no alarm as it is, and the first
    of them one when it is darker, brighter, scaled or out of focus.
    """
    from tempfile import TemporaryDirectory

    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.local.platform import Platform
    from pathcast.monitoring.benchmark import frames_to_analyze, judge_clip
    from pathcast.serving.local_models import FileDetector
    from pathcast.storage.connection import connect
    from pathcast.storage.migrate import migrate
    from pathcast.training.family import find_family

    if unknown := sorted(set(clip) - set(CLIPS)):
        raise InvalidInputError(f"--clip {', '.join(unknown)}: expected one of {', '.join(sorted(CLIPS))}")
    folder_of_clips = data or Path(os.environ.get("PATHCAST_DATA", "../shared/data"))
    monitoring = find_family("detector").monitoring
    found: list[Judged] = []
    with TemporaryDirectory() as folder, Progress(console=Console(stderr=True), transient=True) as progress:
        model, platform = FileDetector(detector), Platform(Path(folder))
        try:
            platform.start("database")
            with connect(platform.settings().database_url, application_name="bench") as connection:
                migrate(connection)
                for name in clip or CLIPS:
                    played = _read(folder_of_clips, name)
                    task = progress.add_task(name, total=frames_to_analyze(played))
                    found += judge_clip(connection, played, model, monitoring, partial(progress.advance, task))
        finally:
            model.close()
            platform.down()
    report("drift", list(_rows(found)), json)


def _read(data: Path, name: str) -> Clip:
    from itertools import islice

    from pathcast.monitoring.benchmark import Clip
    from pathcast.serving.batch.videos import open_video

    place, rate, every = CLIPS[name]
    return Clip(name, list(islice(open_video(data / place, rate).frames(), 0, None, every)), rate / every)


def _rows(found: list[Judged]) -> Iterator[Row]:
    """For each clip the windows that alarmed, as it is and changed; then all clips together, with the signals."""
    for name in dict.fromkeys(each.clip for each in found):
        yield from _counted(name, [each for each in found if each.clip == name])
    yield from _counted("all", found)
    signals = Counter(signal for each in found if each.change is None for signal in each.alarms)
    for signal, count in signals.most_common():
        yield Row(f"all, as it is, {signal}", count, "windows alarmed")


def _counted(name: str, found: list[Judged]) -> Iterator[Row]:
    for change in dict.fromkeys(each.change for each in found):
        windows = [each for each in found if each.change == change]
        label = f"{name}, {change or 'as it is'}"
        yield Row(label, sum(bool(each.alarms) for each in windows), f"of {len(windows)} windows alarmed")
