from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.forecasting.settings import ForecasterSettings
from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster


def test_a_forecaster_survives_the_disk(tmp_path: Path) -> None:
    weights = {"encoder/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(2, np.float32)}
    TrainedForecaster(ForecasterSettings(modes=3), weights, {"windows": 7}).save(tmp_path)
    again = TrainedForecaster.load(tmp_path)
    assert again.settings == ForecasterSettings(modes=3)
    assert again.record == {"windows": 7}
    assert again.weights.keys() == weights.keys()
    assert all(np.array_equal(again.weights[name], values) for name, values in weights.items())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", "{", "expected schema, family, settings and record"),
        (
            "model.json",
            '{"schema": 9, "family": "forecaster", "settings": {}, "record": {}}',
            "expected schema 1, got 9",
        ),
        (
            "model.json",
            '{"schema": 1, "family": "forecaster", "settings": {"size": 1}, "record": {}}',
            "forecaster settings: expected",
        ),
        (
            "model.json",
            '{"schema": 1, "family": "signs", "settings": {}, "record": {}}',
            "family forecaster, got signs",
        ),
        ("weights.npz", "not an archive", "expected an npz archive"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    TrainedForecaster(ForecasterSettings(), {"bias": np.zeros(2, np.float32)}).save(tmp_path)
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        TrainedForecaster.load(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file"):
        TrainedForecaster.load(tmp_path / "none")


def test_the_shipped_forecaster_loads() -> None:
    shipped = shipped_forecaster()
    assert shipped.settings.modes == 20
    assert shipped.record["data_card"]["units"] == "m"
    assert all(np.isfinite(values).all() for values in shipped.weights.values())
