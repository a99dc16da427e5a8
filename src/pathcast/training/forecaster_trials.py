"""The forecaster tried where it has not learned: scene by scene, or track by track."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pathcast.forecasting.analysis import Predictions, pool
from pathcast.forecasting.eth_ucy import SCENES, read_split, read_test
from pathcast.forecasting.evaluation import predict
from pathcast.forecasting.model import restore_forecaster
from pathcast.forecasting.trained import TrainedForecaster
from pathcast.forecasting.windows import Windows, concatenate
from pathcast.training.forecaster_task import keras_predictor, train
from pathcast.training.loop import EpochReport
from pathcast.training.settings import TrainingSettings

Progress = Callable[[EpochReport], None]

_EPOCH_SHARE = 0.1
"""The share of a fold's tracks by which its epoch is chosen."""


def leave_one_out(
    root: Path, training: TrainingSettings, begin: Callable[[str], Progress]
) -> Iterator[tuple[str, TrainedForecaster, Predictions]]:
    """Each scene with a model trained on all recordings but its own, and that model's forecasts there.

    `root` is a folder in the ETH/UCY layout. `begin(scene)` gives what is told of its training's epochs. Every model
    takes as many steps as one that learns from everything: where there are fewer windows, more epochs.
    """
    everything = len(read_split(root, None)[0])
    for scene in SCENES:
        windows_train, windows_val = read_split(root, scene)
        epochs = round(training.epochs * everything / len(windows_train))
        trained = train(windows_train, windows_val, replace(training, epochs=epochs), progress=begin(scene))
        yield scene, trained, predict(keras_predictor(restore_forecaster(trained)), read_test(root, scene))


def by_folds(
    scenes: Mapping[str, Windows], k: int, training: TrainingSettings, begin: Callable[[str], Progress]
) -> dict[str, Predictions]:
    """K-fold cross-validation by track: every window forecast by a model that saw no window of its track.

    The models see other tracks of the same scenes, so the figures say how well a place that was learned is
    known, not how well a new one is.
    """
    everything = concatenate(list(scenes.values()))
    ends = np.cumsum([int(windows.tracks.max()) + 1 for windows in scenes.values()])
    parts: dict[str, list[Predictions]] = {scene: [] for scene in scenes}
    for number, (learn, held_out) in enumerate(everything.folds_by_track(k, training.seed), start=1):
        windows_train, windows_val = learn.split_by_track(_EPOCH_SHARE, training.seed)
        trained = train(windows_train, windows_val, training, progress=begin(f"fold {number} of {k}"))
        predictor = keras_predictor(restore_forecaster(trained))
        owner = np.searchsorted(ends, held_out.tracks, side="right")
        for place, scene in enumerate(scenes):
            if (rows := owner == place).any():
                parts[scene].append(predict(predictor, held_out.select(rows)))
    return {scene: pool(found) for scene, found in parts.items()}
