"""`pathcast evaluate forecaster`: the learned forecaster and the baselines, scene by scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pathcast.cli.evaluate import app
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pathcast.forecasting.analysis import Calibration, HorizonErrors, Predictions, SpeedClassErrors
    from pathcast.forecasting.evaluation import Scores
    from pathcast.forecasting.windows import Windows
    from pathcast.training.loop import EpochReport
    from pathcast.training.settings import TrainingSettings


@app.command("forecaster", epilog="Example: pathcast evaluate forecaster --data eth_ucy --leave-one-out --json it.json")
def evaluate_forecaster(
    data: Path = typer.Option(
        ..., help="ETH/UCY (all_data/, train/, val/), TrajNet or MOT in metres; see docs/data.md."
    ),
    leave_one_out: bool = typer.Option(False, help="Train five models, each tested on the scene it never saw."),
    folds: int | None = typer.Option(None, min=2, help="Train K models, each tested on tracks that it never saw."),
    models: Path | None = typer.Option(
        None, file_okay=False, help="With --leave-one-out: keep the five models in this folder."
    ),
    model: Path | None = typer.Option(None, help="Folder of a trained forecaster; default: the one that ships."),
    epochs: int | None = typer.Option(None, min=1, help="Where models are trained: passes over the data."),
    threads: int = typer.Option(0, min=0, help="CPU threads; 0 means one per core."),
    plots: Path | None = typer.Option(
        None, file_okay=False, help="Folder for pictures: horizon, speed, calibration, examples (PNG)."
    ),
    json: Path | None = file_option("Write the scores to this file."),
) -> None:
    """Score the forecaster scene by scene, strict windows of 8 + 12 steps, beside the baselines.

    Without --leave-one-out or --folds one model is scored on all scenes; the shipped model has learned from a
    part of each, so its figures say nothing about new places. Best of 20: the 20 modes. A miss ends more than 2 m off.
    """
    from pathcast.core.trajectory import METRES
    from pathcast.forecasting.analysis import HORIZON_S, by_horizon, by_speed, calibration, pool
    from pathcast.forecasting.evaluation import Scores, evaluate_baselines, score_predictions
    from pathcast.forecasting.sources import read_scenes
    from pathcast.training.backend import use_tensorflow

    if sum((leave_one_out, folds is not None, model is not None)) > 1:
        raise InvalidInputError("--leave-one-out, --folds, --model: the first two train their own models; give one")
    if models is not None and not leave_one_out:
        raise InvalidInputError("--models: only --leave-one-out keeps models")
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    scenes = read_scenes(data)
    units = {windows.units for windows in scenes.values()}
    if units != {METRES}:
        raise InvalidInputError(f"{data}: expected trajectories in {METRES}, got {', '.join(sorted(units))}")
    use_tensorflow(threads)
    from pathcast.training.forecaster import FROM_SCRATCH

    training = FROM_SCRATCH if epochs is None else replace(FROM_SCRATCH, epochs=epochs)
    if leave_one_out:
        version, found = "leave-one-out", _leave_one_out(data, models, training, console)
    elif folds is not None:
        version, found = f"{folds} folds by track", _folds(scenes, folds, training, console)
    else:
        version, found = _one_model(model, scenes)
    scores = Scores({scene: score_predictions(predictions) for scene, predictions in found.items()})
    baselines = evaluate_baselines(scenes)
    everything = pool(list(found.values()))
    horizon, speeds, reliability = by_horizon(list(found.values())), by_speed(everything), calibration(everything)
    _print(console, version, scores, baselines, scenes)
    _print_analysis(console, horizon, speeds, reliability)
    if plots is not None:
        from pathcast.cli.forecast_plots import draw_plots

        for path in draw_plots(plots, found, horizon, speeds, reliability):
            console.print(str(path))
    if json is not None:
        report: dict[str, Any] = {
            **scores.as_mapping(),
            "baselines": {name: baseline.as_mapping() for name, baseline in baselines.items()},
            "model_version": version,
            "horizon_s": HORIZON_S,
            "error_m": {name: curve.tolist() for name, curve in asdict(horizon).items()},
            "speed_classes": {name: _speed_entry(entry) for name, entry in speeds.items()},
            "calibration": {
                "expected_error": reliability.expected_error,
                "predicted": reliability.predicted.tolist(),
                "happened": reliability.happened.tolist(),
                "most_likely_predicted": reliability.most_likely_predicted,
                "most_likely_happened": reliability.most_likely_happened,
            },
        }
        write_json(json, report)


def _speed_entry(entry: SpeedClassErrors) -> dict[str, Any]:
    """The errors of a speed class under names that carry the unit."""
    return {name if name == "windows" else f"{name}_m": value for name, value in asdict(entry).items()}


def _one_model(folder: Path | None, scenes: Mapping[str, Windows]) -> tuple[str, dict[str, Predictions]]:
    from pathcast.forecasting.evaluation import predict
    from pathcast.forecasting.model import restore_forecaster
    from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster
    from pathcast.training.forecaster_task import keras_predictor

    trained = shipped_forecaster() if folder is None else TrainedForecaster.load(folder)
    predictor = keras_predictor(restore_forecaster(trained))
    version = "shipped" if folder is None else str(folder)
    return version, {scene: predict(predictor, windows) for scene, windows in scenes.items()}


def _leave_one_out(
    data: Path, folder: Path | None, training: TrainingSettings, console: Console
) -> dict[str, Predictions]:
    from pathcast.training.forecaster_trials import leave_one_out

    found: dict[str, Predictions] = {}
    with Progress(console=console) as bar:
        for scene, trained, predictions in leave_one_out(data, training, _begin(bar, training)):
            found[scene] = predictions
            val = trained.record["val"]
            console.print(
                f"without {scene}: {trained.record['windows_train']} windows, best epoch "
                f"{trained.record['best_epoch']}, validation ADE/FDE {val['ade']:.3f}/{val['fde']:.3f} m"
            )
            if folder is not None:
                trained.save(folder / scene)
    return found


def _folds(
    scenes: Mapping[str, Windows], folds: int, training: TrainingSettings, console: Console
) -> dict[str, Predictions]:
    from pathcast.training.forecaster_trials import by_folds

    with Progress(console=console) as bar:
        return by_folds(scenes, folds, training, _begin(bar, training))


def _begin(bar: Progress, training: TrainingSettings) -> Callable[[str], Callable[[EpochReport], None]]:
    def begin(part: str) -> Callable[[EpochReport], None]:
        task = bar.add_task(f"training, {part}", total=training.epochs)
        return lambda report: bar.update(task, completed=report.epoch, total=report.epochs)

    return begin


def _print(
    console: Console,
    version: str,
    scores: Scores,
    baselines: Mapping[str, Scores],
    scenes: Mapping[str, Windows],
) -> None:
    table = Table(title=f"ADE/FDE in metres, 8 observed and 12 future steps of 0.4 s; forecaster: {version}")
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

    row("most likely path", scores, best=False)
    row("best of 20", scores, best=True)
    for name, baseline in baselines.items():
        row(name.replace("_", " "), baseline, best=False)
    table.add_section()
    for name, of in (("most likely path", scores), ("straight on", baselines["constant_velocity"])):
        table.add_row(f"miss rate, {name}", *(f"{m.miss_rate:.1%}" for m in [*of.scenes.values(), of.mean]))
    table.add_row(
        "miss rate, best of 20", *(f"{m.miss_rate_best20:.1%}" for m in [*scores.scenes.values(), scores.mean])
    )
    nlls = [m.mode_nll for m in [*scores.scenes.values(), scores.mean]]
    table.add_row("mode NLL (nats)", *("" if nll is None else f"{nll:.2f}" for nll in nlls))
    console.print(table)


def _print_analysis(
    console: Console, horizon: HorizonErrors, speeds: Mapping[str, SpeedClassErrors], reliability: Calibration
) -> None:
    from pathcast.forecasting.analysis import HORIZON_S

    table = Table(title="Error in metres against horizon, mean of scenes")
    table.add_column("seconds ahead")
    for seconds in HORIZON_S[2::3]:
        table.add_column(f"{seconds:.1f}", justify="right")
    for name, curve in asdict(horizon).items():
        table.add_row(
            name.replace("_", " ").replace("best20", "best of 20"), *(f"{value:.3f}" for value in curve[2::3])
        )
    console.print(table)

    table = Table(title="ADE/FDE in metres by observed speed, all windows")
    for name in ("speed", "windows", "most likely path", "constant velocity", "best of 20, ADE"):
        table.add_column(name, justify="left" if name == "speed" else "right")
    for name, entry in speeds.items():
        pairs = (
            (entry.ade, entry.fde),
            (entry.constant_velocity_ade, entry.constant_velocity_fde),
            (entry.ade_best20,),
        )
        table.add_row(name, str(entry.windows), *("/".join("-" if v is None else f"{v:.3f}" for v in p) for p in pairs))
    console.print(table)
    console.print(
        f"calibration of the modes: expected error {reliability.expected_error:.3f}; the most likely mode says "
        f"{reliability.most_likely_predicted:.3f} and is nearest in {reliability.most_likely_happened:.3f}"
    )
