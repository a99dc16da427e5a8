"""A trained network as data, the same for every family: what it is built from, its weights, what is known of it.

A folder holds `weights.npz`, arrays by variable path, and `model.json`. No pickle, so a folder from elsewhere can
do no harm when it is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError

WEIGHTS_FILE = "weights.npz"
DESCRIPTION_FILE = "model.json"
PICTURES = "pictures"
"""Folder beside them for what the family draws of the model."""
_SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """What a training gives.

    `weights`: variable path in the network → array. `settings` build the network of `family`; they and the
    `record`, facts about the training, are JSON-able.
    """

    family: str
    settings: Mapping[str, Any]
    weights: Mapping[str, npt.NDArray[Any]]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the weights and their names."""
        digest = hashlib.sha256()
        for name, array in sorted(self.weights.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `weights.npz` and then `model.json`; the same model gives the same arrays back."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / WEIGHTS_FILE, allow_pickle=False, **self.weights)
        description = {
            "schema": _SCHEMA,
            "family": self.family,
            "settings": dict(self.settings),
            "record": dict(self.record),
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, family: str | None = None) -> TrainedModel:
        """Read what `save` wrote.

        Raises InvalidInputError, naming the file, where one is missing or not as expected, or of another `family`.
        """
        description_path, weights_path = folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE
        for path in (description_path, weights_path):
            if not path.is_file():
                raise InvalidInputError(
                    f"{path}: no such file", hint="give the folder that `pathcast train FAMILY --output` wrote"
                )
        try:
            description = json.loads(description_path.read_text(encoding="utf-8"))
            schema, settings, record = description["schema"], description["settings"], description["record"]
            of = str(description["family"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{description_path}: expected schema, family, settings and record: {error}"
            ) from error
        if schema != _SCHEMA:
            raise InvalidInputError(f"{description_path}: expected schema {_SCHEMA}, got {schema}")
        if family is not None and of != family:
            raise InvalidInputError(f"{description_path}: expected a model of family {family}, got {of}")
        try:
            with np.load(weights_path, allow_pickle=False) as arrays:
                weights = {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise InvalidInputError(f"{weights_path}: expected an npz archive of arrays: {error}") from error
        return cls(of, settings, weights, record)
