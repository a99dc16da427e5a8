"""Training of the forecaster: from windows, from scratch or from given weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pathcast.core.arrays import Float32Array
from pathcast.core.trajectory import OBSERVED_STEPS
from pathcast.forecasting.augmentation import Augmentation
from pathcast.forecasting.drawing import ENOUGH, WindowDraw
from pathcast.forecasting.evaluation import Predictor, evaluate
from pathcast.forecasting.losses import forecast_loss
from pathcast.forecasting.metrics import ForecastMetrics, mean_of_windows
from pathcast.forecasting.model import build_forecaster, get_weights, restore_forecaster, window_scale
from pathcast.forecasting.neighbours import NEIGHBOUR_VALUES, NEIGHBOURS
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import TrainedForecaster
from pathcast.forecasting.windows import Windows
from pathcast.training.loop import EpochReport, fit
from pathcast.training.settings import TrainingSettings
from pathcast.training.share import Share
from pathcast.training.workers import Workers

PREDICTION_BATCH = 4096


def _ignore(report: EpochReport) -> None:
    """No progress wanted."""


@dataclass(frozen=True, slots=True)
class ForecasterTask:
    """The forecaster's part of the training loop. `temperature`: of the modes' competition, first and last."""

    windows_train: Windows
    windows_val: Windows
    settings: ForecasterSettings
    initial: TrainedForecaster | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    temperature: tuple[float, float] = (2.0, 0.05)
    draw: WindowDraw = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "draw", WindowDraw.of(self.windows_train.in_metres(), self.augmentation.paces))

    def build(self) -> keras.Model:
        return build_forecaster(self.settings) if self.initial is None else restore_forecaster(self.initial)

    def steps_per_epoch(self, batch_size: int) -> int:
        return max(len(self.windows_train) // batch_size, 1)

    def batches(self, batch_size: int, random: np.random.Generator, share: Share) -> Iterator[tuple[Float32Array, ...]]:
        steps = self.steps_per_epoch(batch_size)
        drawn = self.draw(steps * batch_size, random)
        own = np.arange(steps)[:, None] * batch_size + share.of(np.arange(batch_size))
        # The varied windows lie at the origin: far from 0, positions would lose digits in float32.
        varied = self.augmentation(drawn, random, own.reshape(-1))
        batches = (
            values.astype(np.float32).reshape(*own.shape, *values.shape[1:])
            for values in (varied.observed, varied.neighbours, varied.future)
        )
        yield from zip(*batches, strict=True)

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        observed, neighbours, future = batch
        first, last = self.temperature
        outputs = model({"observed": observed, "neighbours": neighbours}, training=True)
        return forecast_loss(
            outputs["paths"],
            outputs["log_probs"],
            future,
            window_scale(observed, self.settings.smallest_scale)[:, 0],
            temperature=first * (last / first) ** elapsed,
        )

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        predictor = keras_predictor(model)
        own = self.windows_val.select(np.arange(len(self.windows_val))[workers.share.span(len(self.windows_val))])

        def validate() -> Mapping[str, float]:
            found = [astuple(evaluate(predictor, own))] if len(own) else []
            parts = workers.gather(np.array(found, np.float64).reshape(len(found), len(fields(ForecastMetrics))))
            metrics = mean_of_windows([ForecastMetrics(int(windows), *rest) for windows, *rest in parts.tolist()])
            figures = {name: float(value) for name, value in asdict(metrics).items() if value is not None}
            return {**figures, "score": metrics.ade + metrics.fde / 2 + metrics.ade_best20 + metrics.fde_best20 / 2}

        return validate


def keras_predictor(model: keras.Model) -> Predictor:
    """The network as a function of arrays."""
    signature = {
        "observed": tf.TensorSpec((None, OBSERVED_STEPS, 2), tf.float32),
        "neighbours": tf.TensorSpec((None, NEIGHBOURS, NEIGHBOUR_VALUES), tf.float32),
    }
    traced = tf.function(lambda inputs: model(inputs, training=False), input_signature=[signature])

    def predict(inputs: Mapping[str, Float32Array]) -> tuple[Float32Array, Float32Array]:
        parts = [
            traced({name: tf.constant(values[start : start + PREDICTION_BATCH]) for name, values in inputs.items()})
            for start in range(0, len(inputs["observed"]), PREDICTION_BATCH)
        ]
        return (
            np.concatenate([part["paths"].numpy() for part in parts]),
            np.concatenate([part["log_probs"].numpy() for part in parts]),
        )

    return predict


def train(
    windows_train: Windows,
    windows_val: Windows,
    training: TrainingSettings,
    *,
    settings: ForecasterSettings | None = None,
    initial: TrainedForecaster | None = None,
    augmentation: Augmentation | None = None,
    progress: Callable[[EpochReport], None] = _ignore,
) -> TrainedForecaster:
    """Train on `windows_train`, choose the epoch by `windows_val`; from `initial` weights where given.

    With `initial`, its settings are used and `settings` must be None. The record holds the settings, the
    number of windows and the validation figures of the weights that were kept, before and after.
    """
    if initial is not None and settings is not None:
        raise ValueError("settings come with the initial weights; give one of the two")
    chosen = initial.settings if initial is not None else settings or ForecasterSettings()
    varied = augmentation or Augmentation()
    result = fit(ForecasterTask(windows_train, windows_val, chosen, initial, varied), training, on_epoch=progress)
    best = result.best
    record = {
        "training": training.as_mapping(),
        "augmentation": asdict(varied),
        "enough_windows": ENOUGH,
        "windows_train": len(windows_train),
        "windows_val": len(windows_val),
        "units": windows_train.units,
        "epochs_run": len(result.reports),
        "best_epoch": 0 if best is None else best.epoch,
        "val_start": dict(result.start),
        "val": dict(result.start if best is None else best.figures),
    }
    return TrainedForecaster(chosen, get_weights(result.model), record)
