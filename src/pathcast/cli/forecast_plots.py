"""Pictures of how a forecaster did, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pathcast.forecasting.analysis import HORIZON_S, Calibration, HorizonErrors, Predictions, SpeedClassErrors

EXAMPLES_PER_SCENE = 4
_COLOURS = {"most likely path": "#1f6feb", "best of 20": "#2da44e", "constant velocity": "#8c959f", "came": "#cf222e"}


def draw_plots(
    directory: Path,
    scenes: Mapping[str, Predictions],
    horizon: HorizonErrors,
    speeds: Mapping[str, SpeedClassErrors],
    calibration: Calibration,
) -> list[Path]:
    """Write horizon.png, speed.png, calibration.png and examples.png; all lengths in metres."""
    matplotlib.use("agg")
    directory.mkdir(parents=True, exist_ok=True)
    figures = {
        "horizon": _horizon(horizon),
        "speed": _speed(speeds),
        "calibration": _calibration(calibration),
        "examples": _examples(scenes),
    }
    paths: list[Path] = []
    for name, figure in figures.items():
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
    return paths


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _horizon(errors: HorizonErrors) -> Figure:
    figure, axes = _axes("Error against horizon, mean of scenes", "seconds ahead", "distance (m)")
    curves = (errors.constant_velocity, errors.most_likely, errors.best20)
    for name, curve in zip(("constant velocity", "most likely path", "best of 20"), curves, strict=True):
        axes.plot(HORIZON_S, curve, marker="o", markersize=3, color=_COLOURS[name], label=name)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _speed(speeds: Mapping[str, SpeedClassErrors]) -> Figure:
    figure, axes = _axes("Mean error by observed speed", "", "ADE (m)")
    rows = {
        "constant velocity": [entry.constant_velocity_ade for entry in speeds.values()],
        "most likely path": [entry.ade for entry in speeds.values()],
        "best of 20": [entry.ade_best20 for entry in speeds.values()],
    }
    for place, (name, values) in enumerate(rows.items()):
        heights = [0.0 if value is None else value for value in values]
        axes.bar(np.arange(len(speeds)) + 0.27 * (place - 1), heights, 0.25, color=_COLOURS[name], label=name)
    axes.set_xticks(np.arange(len(speeds)), [f"{name}\n{entry.windows} windows" for name, entry in speeds.items()])
    axes.legend()
    return figure


def _calibration(found: Calibration) -> Figure:
    title = f"Is the mode nearest as often as it says? Expected error {found.expected_error:.3f}"
    figure, axes = _axes(title, "probability given to a mode", "share of cases in which it was nearest")
    end = 1.1 * max(found.predicted.max(), found.happened.max(), found.most_likely_predicted)
    axes.plot([0, end], [0, end], color=_COLOURS["constant velocity"], linestyle="--", label="perfect")
    axes.plot(
        found.predicted, found.happened, marker="o", color=_COLOURS["most likely path"], label="all modes, tenths"
    )
    point = ([found.most_likely_predicted], [found.most_likely_happened])
    axes.plot(*point, marker="s", linestyle="none", color=_COLOURS["came"], label="most likely mode")
    axes.legend()
    return figure


def _examples(scenes: Mapping[str, Predictions]) -> Figure:
    figure = Figure(figsize=(3 * EXAMPLES_PER_SCENE, 3 * len(scenes)), layout="constrained")
    grid = figure.subplots(len(scenes), EXAMPLES_PER_SCENE, squeeze=False)
    for row, (name, predictions) in zip(grid, scenes.items(), strict=True):
        for axes, index in zip(row, _spread(predictions), strict=False):
            _example(axes, predictions, index)
            axes.set_title(f"{name}, window {index}", fontsize=9)
        for axes in row:
            axes.set_aspect("equal", "datalim")
            axes.tick_params(labelsize=7)
    grid[0, 0].legend(fontsize=7)
    return figure


def _spread(predictions: Predictions) -> list[int]:
    """Windows at evenly spaced ranks of the most likely path's error, from good to bad."""
    ade = predictions.ranked_errors()[:, 0].mean(axis=1)
    ranks = np.linspace(0.2, 0.95, EXAMPLES_PER_SCENE) * (len(ade) - 1)
    return [int(index) for index in np.argsort(ade, kind="stable")[ranks.round().astype(np.int64)]]


def _example(axes: Axes, predictions: Predictions, index: int) -> None:
    observed, future = predictions.windows.observed[index], predictions.windows.future[index]
    probabilities = np.exp(predictions.log_probs[index])
    for path, probability in zip(predictions.paths[index], probabilities, strict=True):
        whole = np.concatenate([observed[-1:], path])
        axes.plot(*whole.T, color=_COLOURS["best of 20"], alpha=0.25 + 0.5 * probability / probabilities.max(), lw=0.8)
    chosen = predictions.paths[index, predictions.most_likely()[index]]
    axes.plot(*np.concatenate([observed[-1:], chosen]).T, color=_COLOURS["most likely path"], label="most likely path")
    axes.plot(*observed.T, color="black", marker="o", markersize=3, label="observed")
    axes.plot(*future.T, color=_COLOURS["came"], marker="o", markersize=3, linestyle="none", label="came")
