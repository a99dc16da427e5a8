"""`pathcast bench training`: what a second worker saves."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

_DATA = Path(os.environ.get("PATHCAST_DATA", "../shared/data")) / "eth_ucy"


@app.command("training", epilog="Example: pathcast bench training --data eth_ucy --batch-size 512 --json training.json")
def bench_training(
    family: str = typer.Argument("forecaster", help="Which kind of model."),
    data: Path = typer.Option(_DATA, help="Raw data of the family, or a folder prepared from it."),
    batch_size: list[int] = typer.Option([256, 512, 1024], min=2, help="Samples of a step in all; repeatable."),
    change: list[str] = typer.Option([], "--set", help="KEY=VALUE: a setting of training or family; repeatable."),
    epochs: int = typer.Option(6, min=2, help="Passes over the data; the first, which builds the graph, is left out."),
    rounds: int = typer.Option(2, min=1, help="One and two workers take turns this often; the best epoch counts."),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Seconds an epoch of a family, validation included, by two workers and by one, each on a core of its own.

    Needs two cores that nothing else uses: the best epoch of each is compared, since other work only ever slows.
    """
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.family import find_family
    from pathcast.training.launcher import launch
    from pathcast.training.prepared import is_prepared, open_prepared, prepare

    use_tensorflow(1)
    best: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True), transient=True) as progress:
        folder = Path(name)
        found = find_family(family)
        prepared = open_prepared(data, found) if is_prepared(data) else prepare(found, data, folder / "data")
        task = progress.add_task("training", total=rounds * len(batch_size) * 2)
        for turn in range(rounds):
            for size in batch_size:
                for workers in (1, 2):
                    progress.update(task, description=f"{workers} workers, batches of {size}")
                    output = folder / f"{turn}-{size}-{workers}"
                    argv = [sys.executable, "-m", "pathcast", "train", family, "--threads=1"]
                    argv += [f"--data={prepared.folder}", f"--output={output}", f"--state-dir={folder}"]
                    argv += [f"--batch-size={size}", f"--epochs={epochs}", f"--set=patience={epochs}"]
                    argv += [f"--set={setting}" for setting in change]
                    launch(argv, workers, logs=output, environment=os.environ, on_event=lambda event: None)
                    spent = min(TrainedModel.load(output).record["epoch_seconds"][1:])
                    best[size, workers] = min(spent, best.get((size, workers), math.inf))
                    progress.advance(task)
    rows = []
    for size in batch_size:
        alone, together = best[size, 1], best[size, 2]
        rows.append(Row(f"1 worker, batches of {size}", alone, "s/epoch"))
        rows.append(Row(f"2 workers, batches of {size}", together, "s/epoch", rows[-1].name, together / alone))
    report(f"training, {family}, one core a worker", rows, json)
