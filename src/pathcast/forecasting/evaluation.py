"""Scenes scored by a model and by the baselines side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.forecasting.analysis import Predictions
from pathcast.forecasting.baselines import BASELINES
from pathcast.forecasting.metrics import ForecastMetrics, mean_of_scenes, score, score_path
from pathcast.forecasting.units import metres_per
from pathcast.forecasting.windows import Windows

Predictor = Callable[[Mapping[str, Float32Array]], tuple[Float32Array, Float32Array]]
"""What `Windows.inputs` gives → (n, M, 12, 2) paths and (n, M) log probabilities, lengths in metres."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Metrics by scene, in the windows' units, and their plain mean."""

    scenes: Mapping[str, ForecastMetrics]

    @property
    def mean(self) -> ForecastMetrics:
        return mean_of_scenes(list(self.scenes.values()))

    def as_mapping(self) -> dict[str, Any]:
        """JSON-able `scenes` and `mean`, lengths in metres."""
        return {"scenes": {name: in_metres(m) for name, m in self.scenes.items()}, "mean": in_metres(self.mean)}


def in_metres(metrics: ForecastMetrics) -> dict[str, Any]:
    """The metrics of windows in metres under names that carry the unit."""
    values = {
        "windows": metrics.windows,
        "ade_m": metrics.ade,
        "fde_m": metrics.fde,
        "ade_best20_m": metrics.ade_best20,
        "fde_best20_m": metrics.fde_best20,
        "miss_rate": metrics.miss_rate,
        "miss_rate_best20": metrics.miss_rate_best20,
    }
    return values if metrics.mode_nll is None else {**values, "mode_nll_nats": metrics.mode_nll}


def predict(predictor: Predictor, windows: Windows) -> Predictions:
    """What a model makes of windows, in their units."""
    paths, log_probs = predictor(windows.inputs())
    return Predictions(windows, paths / np.float32(metres_per(windows.units)), log_probs)


def score_predictions(predictions: Predictions) -> ForecastMetrics:
    """Score what a model made of its windows."""
    return score(predictions.paths, predictions.log_probs, predictions.windows.future)


def evaluate(predictor: Predictor, windows: Windows) -> ForecastMetrics:
    """Score a model on windows."""
    return score_predictions(predict(predictor, windows))


def evaluate_baselines(scenes: Mapping[str, Windows]) -> dict[str, Scores]:
    """Name of each baseline → its scores on every scene."""
    return {
        name: Scores({scene: score_path(baseline(w.observed), w.future) for scene, w in scenes.items()})
        for name, baseline in BASELINES.items()
    }
