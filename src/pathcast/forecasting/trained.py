"""A trained forecaster as data: its settings, its weights by name, and what is known about its making."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.errors import InvalidInputError
from pathcast.forecasting.settings import ForecasterSettings

WEIGHTS_FILE = "weights.npz"
DESCRIPTION_FILE = "forecaster.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class TrainedForecaster:
    """`weights`: variable path in the network → float32 array. `record`: JSON-able facts about the training."""

    settings: ForecasterSettings
    weights: Mapping[str, Float32Array]
    record: Mapping[str, Any] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Write `weights.npz` and `forecaster.json`; the same forecaster gives the same arrays back."""
        directory.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(directory / WEIGHTS_FILE, allow_pickle=False, **self.weights)
        description = {"schema": _SCHEMA, "settings": self.settings.as_mapping(), "record": dict(self.record)}
        (directory / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> TrainedForecaster:
        """Read what `save` wrote; InvalidInputError names the file that is missing or not as expected."""
        description_path, weights_path = directory / DESCRIPTION_FILE, directory / WEIGHTS_FILE
        for path in (description_path, weights_path):
            if not path.is_file():
                raise InvalidInputError(
                    f"{path}: no such file", hint="give the folder that `pathcast train forecaster --output` wrote"
                )
        try:
            description = json.loads(description_path.read_text(encoding="utf-8"))
            schema, settings, record = description["schema"], description["settings"], description["record"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"{description_path}: expected schema, settings and record: {error}") from error
        if schema != _SCHEMA:
            raise InvalidInputError(f"{description_path}: expected schema {_SCHEMA}, got {schema}")
        try:
            with np.load(weights_path, allow_pickle=False) as arrays:
                weights = {name: arrays[name].astype(np.float32) for name in arrays.files}
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise InvalidInputError(f"{weights_path}: expected an npz archive of arrays: {error}") from error
        return cls(ForecasterSettings.from_mapping(settings), weights, record)


def shipped_forecaster() -> TrainedForecaster:
    """The forecaster that comes with the package: where fine-tuning starts."""
    return TrainedForecaster.load(Path(__file__).parent / "weights")
