"""A trained forecaster as data: its settings, its weights by name, and what is known about its making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.trained_model import TrainedModel
from pathcast.forecasting.settings import ForecasterSettings

FAMILY = "forecaster"

SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True, eq=False)
class TrainedForecaster:
    """`weights`: variable path in the network → float32 array. `record`: JSON-able facts about the training."""

    settings: ForecasterSettings
    weights: Mapping[str, Float32Array]
    record: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the folder of a trained model, see `TrainedModel`."""
        TrainedModel(FAMILY, self.settings.as_mapping(), self.weights, self.record).save(folder)

    @classmethod
    def load(cls, folder: Path) -> TrainedForecaster:
        """Read what `save` wrote; InvalidInputError names the file that is missing or not as expected."""
        return cls.of(TrainedModel.load(folder, FAMILY))

    @classmethod
    def of(cls, model: TrainedModel) -> TrainedForecaster:
        """A trained model known to be a forecaster; InvalidInputError where its settings are not one's."""
        weights = {name: np.asarray(values, np.float32) for name, values in model.weights.items()}
        return cls(ForecasterSettings.from_mapping(dict(model.settings)), weights, model.record)


def shipped_forecaster() -> TrainedForecaster:
    """The forecaster that comes with the package: where fine-tuning starts."""
    return TrainedForecaster.load(SHIPPED_WEIGHTS)
