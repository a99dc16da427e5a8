"""`pathcast train FAMILY`: models from data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pathcast.core.errors import InvalidInputError

app = typer.Typer(name="train", no_args_is_help=True, help="Train a model from data.")


@app.callback()
def train() -> None:
    """Train a model from data."""


@app.command("forecaster", epilog="Example: pathcast train forecaster --data eth_ucy --output forecaster")
def train_forecaster(
    data: Path = typer.Option(..., help="Folder in the ETH/UCY layout: train/ and val/ with their recordings."),
    output: Path = typer.Option(Path("forecaster"), help="Folder for weights.npz and model.json."),
    held_out: str | None = typer.Option(None, help="Leave this scene out: eth, hotel, univ, zara1 or zara2."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the data."),
    seed: int | None = typer.Option(None, help="Seed of the weights, the order and the variations."),
    init: Path | None = typer.Option(None, help="Start from the weights in this folder instead of at random."),
    threads: int = typer.Option(0, min=0, help="CPU threads; 0 means one per core."),
    json: Path | None = typer.Option(None, help="Also write the figures to this file."),
) -> None:
    """Train the forecaster on pedestrian recordings; the best epoch on the validation part is kept."""
    import msgspec

    from pathcast.forecasting.eth_ucy import read_split
    from pathcast.forecasting.trained import TrainedForecaster
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.settings import TrainingSettings

    if output.exists() and not output.is_dir():
        raise InvalidInputError(f"--output {output}: expected a folder, got a file")
    windows_train, windows_val = read_split(data, held_out)
    initial = None if init is None else TrainedForecaster.load(init)
    overrides: dict[str, Any] = {
        name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None
    }
    settings = TrainingSettings(**overrides)
    console = Console()
    console.print(f"{len(windows_train)} windows to learn from, {len(windows_val)} to choose the epoch by")
    use_tensorflow(threads)
    from pathcast.training.forecaster import train as train_windows
    from pathcast.training.loop import EpochReport

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=settings.epochs, state="")

        def advance(report: EpochReport) -> None:
            figures = report.figures
            state = f"{report.epoch}/{report.epochs} ADE {figures['ade']:.3f} FDE {figures['fde']:.3f}"
            bar.update(task, completed=report.epoch, state=state)

        trained = train_windows(windows_train, windows_val, settings, initial=initial, progress=advance)
    trained.save(output)
    best = trained.record["val"]
    console.print(
        f"validation: ADE/FDE {best['ade']:.3f}/{best['fde']:.3f} m, best of 20 "
        f"{best['ade_best20']:.3f}/{best['fde_best20']:.3f} m at epoch {trained.record['best_epoch']}; "
        f"saved in {output}"
    )
    if json is not None:
        figures = {
            "windows_train": len(windows_train),
            "windows_val": len(windows_val),
            "best_epoch": trained.record["best_epoch"],
            "val_ade_m": best["ade"],
            "val_fde_m": best["fde"],
            "val_ade_best20_m": best["ade_best20"],
            "val_fde_best20_m": best["fde_best20"],
        }
        json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
