"""The forecaster's errors on real walks must not rise above the figures in floors.toml."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pathcast.export.parity import open_session
from pathcast.forecasting.baselines import constant_velocity
from pathcast.forecasting.eth_ucy import RECORDINGS, SCENES, read_recordings, read_split
from pathcast.forecasting.evaluation import evaluate
from pathcast.forecasting.metrics import ForecastMetrics, score, score_path
from pathcast.forecasting.model import restore_forecaster
from pathcast.forecasting.trained import shipped_forecaster
from pathcast.forecasting.windows import Windows
from pathcast.training.forecaster import FROM_SCRATCH
from pathcast.training.forecaster_task import keras_predictor, train

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data")) / "eth_ucy"
CEILINGS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["forecaster"]
FIGURES = ("ade", "fde", "ade_best20", "fde_best20")


@pytest.fixture(scope="module")
def validation() -> Windows:
    if not (DATA / "val").is_dir():
        pytest.skip(f"{DATA} is not there (PATHCAST_DATA names the data folder)")
    return read_recordings(DATA, "val", RECORDINGS)


def check(name: str, metrics: ForecastMetrics) -> None:
    ceilings = CEILINGS[name]
    measured = {figure: getattr(metrics, figure) for figure in FIGURES}
    assert metrics.windows == ceilings["windows"]
    assert all(measured[figure] <= ceilings[figure] for figure in FIGURES), (measured, ceilings)


def test_the_served_file_scores_as_the_network_does_and_stays_good(validation: Windows) -> None:
    inputs = validation.inputs()
    paths, log_probs = keras_predictor(restore_forecaster(shipped_forecaster()))(inputs)
    session = open_session(ROOT / "model_repo" / "forecaster" / "1" / "model.onnx")
    served_paths, served_log_probs = session.run(["paths", "log_probs"], inputs)
    assert np.abs(served_paths - paths).max() <= 1e-4
    assert np.abs(served_log_probs - log_probs).max() <= 1e-4
    served, own = (
        score(*outputs, validation.future) for outputs in ((served_paths, served_log_probs), (paths, log_probs))
    )
    for figure in FIGURES:
        assert getattr(served, figure) == pytest.approx(getattr(own, figure), abs=1e-4)
    check("shipped", served)


def test_training_transfers_to_a_place_it_never_saw(validation: Windows) -> None:
    trained = train(*read_split(DATA, "hotel"), FROM_SCRATCH)
    hotel = read_recordings(DATA, "val", SCENES["hotel"])
    metrics = evaluate(keras_predictor(restore_forecaster(trained)), hotel)
    check("without_hotel", metrics)
    straight = score_path(constant_velocity(hotel.observed), hotel.future)
    assert metrics.ade < 0.8 * straight.ade
    assert metrics.fde < 0.8 * straight.fde
