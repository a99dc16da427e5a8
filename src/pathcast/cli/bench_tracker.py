"""`pathcast bench tracker`: time per update beside the peers, growth, and the cost of saving."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option
from pathcast.core.arrays import Float64Array

_FRAMES = {50: 120, 200: 60, 1000: 16}
_GROWTH_FROM, _GROWTH_TO, _SAVED = 200, 1000, 200
_OURS = "pathcast"


@app.command("tracker", epilog="Example: pathcast bench tracker --json tracker.json")
def bench_tracker(
    rounds: int = typer.Option(
        5, min=1, help="The trackers take turns so often; each frame counts with its best round."
    ),
    peers: bool = typer.Option(True, "--peers/--no-peers", help="Run SORT, ByteTrack, OC-SORT and C-BIoU too."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Milliseconds an update at 50, 200 and 1,000 objects, and to save and restore the state of 200 tracks."""
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.tracking.benchmark import crowd, ours_ms, peer_ms, save_and_restore_ms, typical_ms
    from pathcast.tracking.peers import peers as make_peers

    makers = make_peers() if peers else {}
    runs: dict[tuple[str, int], list[Float64Array]] = {(name, n): [] for n in _FRAMES for name in (_OURS, *makers)}
    scenes = {objects: crowd(objects, frames) for objects, frames in _FRAMES.items()}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tracking", total=rounds * len(runs))
        for (name, objects), run in rounds * list(runs.items()):
            progress.update(task, description=f"{name}, {objects} objects")
            scene = scenes[objects]
            run.append(ours_ms(scene) if name == _OURS else peer_ms(makers[name](), scene))
            progress.advance(task)
    best = {of: typical_ms(run) for of, run in runs.items()}
    rows = []
    for objects in _FRAMES:
        fastest = min(makers, key=lambda name: best[name, objects], default=None)  # noqa: B023 - used at once
        for name in (_OURS, *makers):
            value = best[name, objects]
            ratio = None if fastest is None else value / best[fastest, objects]
            label = None if fastest is None else _label(fastest, objects)
            rows.append(Row(_label(name, objects), value, "ms/update", label, ratio))
    growth = best[_OURS, _GROWTH_TO] / best[_OURS, _GROWTH_FROM]
    even = _GROWTH_TO * math.log(_GROWTH_TO) / (_GROWTH_FROM * math.log(_GROWTH_FROM))
    rows.append(Row(f"{_OURS}, growth from {_GROWTH_FROM} to {_GROWTH_TO}", growth, "times", "n log n", growth / even))
    spent, size = save_and_restore_ms(_SAVED)
    rows.append(Row(f"save and restore, {_SAVED} tracks", spent, "ms"))
    rows.append(Row(f"state, {_SAVED} tracks", size, "bytes"))
    report("tracker", rows, json)


def _label(name: str, objects: int) -> str:
    return f"{name}, {objects} objects"
