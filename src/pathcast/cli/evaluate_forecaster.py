"""`pathcast evaluate forecaster`: the learned forecaster and the baselines on ETH/UCY."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pathcast.cli.evaluate import app
from pathcast.core.errors import InvalidInputError

if TYPE_CHECKING:
    from pathcast.forecasting.evaluation import Predictor, Scores
    from pathcast.forecasting.metrics import ForecastMetrics
    from pathcast.forecasting.windows import Windows


@app.command("forecaster", epilog="Example: pathcast evaluate forecaster --data eth_ucy --leave-one-out --json it.json")
def evaluate_forecaster(
    data: Path = typer.Option(..., help="Folder in the ETH/UCY layout: all_data/, train/ and val/."),
    leave_one_out: bool = typer.Option(False, help="Train five models, each tested on the scene it never saw."),
    models: Path | None = typer.Option(None, help="With --leave-one-out: keep the five models in this folder."),
    model: Path | None = typer.Option(None, help="Folder of a trained forecaster; default: the one that ships."),
    epochs: int | None = typer.Option(None, min=1, help="With --leave-one-out: passes over the data."),
    threads: int = typer.Option(0, min=0, help="CPU threads; 0 means one per core."),
    json: Path | None = typer.Option(None, help="Write the scores to this file."),
) -> None:
    """Score the forecaster scene by scene, strict windows of 8 + 12 steps, beside the baselines.

    Without --leave-one-out one model is scored on all scenes; the shipped model has learned from a part of
    each, so its figures say nothing about new places. Best of 20: the 20 modes.
    """
    import msgspec

    from pathcast.forecasting.eth_ucy import SCENES, read_test
    from pathcast.forecasting.evaluation import Scores, evaluate, evaluate_baselines
    from pathcast.training.backend import use_tensorflow

    if leave_one_out and model is not None:
        raise InvalidInputError("--model: with --leave-one-out the models are trained here; give one of the two")
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    scenes = {scene: read_test(data, scene) for scene in SCENES}
    use_tensorflow(threads)
    if leave_one_out:
        version, predictor_of = "leave-one-out", _trained_without(data, models, epochs, console)
    else:
        version, predictor_of = _one_model(model)
    results: dict[str, ForecastMetrics] = {}
    for scene, windows in scenes.items():
        results[scene] = evaluate(predictor_of(scene), windows)
    scores, baselines = Scores(results), evaluate_baselines(scenes)
    _print(console, version, scores, baselines, scenes)
    if json is not None:
        report = {
            **scores.as_mapping(),
            "baselines": {name: baseline.as_mapping() for name, baseline in baselines.items()},
            "model_version": version,
        }
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def _one_model(folder: Path | None) -> tuple[str, Callable[[str], Predictor]]:
    from pathcast.forecasting.model import restore_forecaster
    from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster
    from pathcast.training.forecaster import keras_predictor

    trained = shipped_forecaster() if folder is None else TrainedForecaster.load(folder)
    predictor = keras_predictor(restore_forecaster(trained))
    return "shipped" if folder is None else str(folder), lambda scene: predictor


def _trained_without(
    data: Path, folder: Path | None, epochs: int | None, console: Console
) -> Callable[[str], Predictor]:
    from pathcast.forecasting.eth_ucy import read_split
    from pathcast.forecasting.model import restore_forecaster
    from pathcast.training.forecaster import keras_predictor, train
    from pathcast.training.loop import EpochReport
    from pathcast.training.settings import TrainingSettings

    settings = TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs)

    def predictor(scene: str) -> Predictor:
        windows_train, windows_val = read_split(data, scene)
        with Progress(console=console) as bar:
            task = bar.add_task(f"training without {scene}", total=settings.epochs)

            def advance(report: EpochReport) -> None:
                bar.update(task, completed=report.epoch)

            trained = train(windows_train, windows_val, settings, progress=advance)
        val = trained.record["val"]
        console.print(
            f"without {scene}: {len(windows_train)} windows, best epoch {trained.record['best_epoch']}, "
            f"validation ADE/FDE {val['ade']:.3f}/{val['fde']:.3f} m"
        )
        if folder is not None:
            trained.save(folder / scene)
        return keras_predictor(restore_forecaster(trained))

    return predictor


def _print(
    console: Console,
    version: str,
    scores: Scores,
    baselines: Mapping[str, Scores],
    scenes: Mapping[str, Windows],
) -> None:
    table = Table(title=f"ADE/FDE in metres, 8 observed and 12 future steps of 0.4 s; LSTM: {version}")
    table.add_column("forecaster")
    for scene, windows in scenes.items():
        table.add_column(f"{scene} ({len(windows)})", justify="right")
    table.add_column("mean", justify="right")

    def row(name: str, of: Scores, best: bool) -> None:
        cells = [*of.scenes.values(), of.mean]
        table.add_row(
            name,
            *(f"{m.ade_best20:.3f}/{m.fde_best20:.3f}" if best else f"{m.ade:.3f}/{m.fde:.3f}" for m in cells),
        )

    row("LSTM, most likely", scores, best=False)
    row("LSTM, best of 20", scores, best=True)
    for name, baseline in baselines.items():
        row(name.replace("_", " "), baseline, best=False)
    console.print(table)
