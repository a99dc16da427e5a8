"""The forecaster as a family. TensorFlow is imported by the parts that need it: most steps of a pipeline do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.trained_model import TrainedModel
from pathcast.forecasting.augmentation import Augmentation
from pathcast.forecasting.drawing import ENOUGH
from pathcast.forecasting.evaluation import predict, score_predictions
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import SHIPPED_WEIGHTS
from pathcast.forecasting.windows import Windows
from pathcast.monitoring.definition import Monitoring
from pathcast.monitoring.signals import FORECAST_ERROR, FORECAST_SKILL, SPEED
from pathcast.training.family import Evaluation, Family, Gate, ReplayGate
from pathcast.training.forecaster_data import prepare_windows, read_windows, select_tracks
from pathcast.training.search_space import TRAINING, Choice, Real
from pathcast.training.settings import TrainingSettings

FROM_SCRATCH = TrainingSettings(epochs=14, ema=0.985)
"""1,666 steps on ETH/UCY, about as many as the perceptron was chosen with on the `val` parts: its best guess was worse
after half as many, while an LSTM's got worse with more (docs/benchmarks.md)."""

AUGMENTATION = Augmentation()
"""Of every training, from scratch or from given weights."""

FINE_TUNING = TrainingSettings(epochs=40, batch_size=64, learning_rate=3e-4, ema=0.98, patience=10)

if TYPE_CHECKING:
    import keras

    from pathcast.training.loop import Task


def _build(settings: Mapping[str, Any]) -> keras.Model:
    from pathcast.forecasting.model import build_forecaster

    return build_forecaster(ForecasterSettings.from_mapping(dict(settings)))


def _task(folder: Path, settings: Mapping[str, Any]) -> Task:
    from pathcast.training.forecaster_task import ForecasterTask

    return ForecasterTask(
        read_windows(folder, "train"),
        read_windows(folder, "val"),
        ForecasterSettings.from_mapping(dict(settings)),
        augmentation=AUGMENTATION,
    )


def _export(model: keras.Model, folder: Path, target: Path) -> Mapping[str, float]:
    from pathcast.export.forecaster import write_network

    return write_network(model, target, windows=read_windows(folder, "test")).parity.differences


def _evaluate(onnx_file: Path, folder: Path) -> Evaluation:
    from pathcast.export.parity import open_session

    session, windows = open_session(onnx_file), read_windows(folder, "test")

    # A champion from before a forecaster was told of others takes `observed` alone, and is to be compared with.
    names = [each.name for each in session.get_inputs()]

    def served(inputs: Mapping[str, Float32Array]) -> tuple[Float32Array, Float32Array]:
        paths, log_probs = session.run(["paths", "log_probs"], {name: inputs[name] for name in names})
        return paths, log_probs

    found = predict(served, windows)
    metrics = {name: value for name, value in asdict(score_predictions(found)).items() if value is not None}
    errors = found.ranked_errors()[:, 0].mean(axis=1)
    # Windows of one walker overlap. People who walk together resemble each other too, which windows do not tell.
    return Evaluation(metrics, len(windows), lambda samples: float(errors[samples].mean()), groups=windows.tracks)


def _examples(windows: Windows) -> Mapping[str, Float32Array]:
    return windows.select(np.arange(min(8, len(windows)))).inputs()


FAMILY = Family(
    name="forecaster",
    summary="where people walk in the next 4.8 s: several paths and their probabilities",
    prepare=prepare_windows,
    build=_build,
    task=_task,
    export=_export,
    evaluate=_evaluate,
    examples=lambda _, folder: _examples(read_windows(folder, "test")),
    gate=Gate(metric="ade", higher_is_better=False, tolerance=0.01, latency_ms=50.0, batch=1000),
    settings=ForecasterSettings().as_mapping(),
    search={
        **TRAINING,
        "units": Choice((32, 48, 64, 96)),
        "dropout": Real(0.0, 0.3),
        "batch_size": Choice((128, 256, 512)),
    },
    training=FROM_SCRATCH,
    record={"augmentation": asdict(AUGMENTATION), "enough_windows": ENOUGH},
    select=select_tracks,
    shipped=lambda: TrainedModel.load(SHIPPED_WEIGHTS, "forecaster"),
    fine_tuning=FINE_TUNING.as_mapping(),
    monitoring=Monitoring(signals=(SPEED, FORECAST_ERROR, FORECAST_SKILL)),
    replay=ReplayGate("forecaster", tolerance=0.05),
)
