"""A training's state on disk: whole or not at all, without pickle.

One uncompressed npz: arrays `state/N`, `best/N`, `losses` and `meta`, JSON as bytes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError

_SCHEMA = 1
Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """All that is needed to go on as if nothing had happened.

    `step` steps are done, `step_of_epoch` of them in `epoch`, with these `losses`. The order and the variations of
    an epoch follow from seed and epoch, so no generator's state is needed. `state` are the variables of the step,
    `best` the weights to keep so far, `progress` JSON-able facts of the loop and `settings` those it began with.
    """

    step: int
    epoch: int
    step_of_epoch: int
    losses: npt.NDArray[np.float32]
    state: Arrays
    best: Arrays
    progress: Mapping[str, Any]
    settings: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        meta = {
            "schema": _SCHEMA,
            "step": self.step,
            "epoch": self.epoch,
            "step_of_epoch": self.step_of_epoch,
            "progress": dict(self.progress),
            "settings": dict(self.settings),
        }
        arrays = {f"state/{number}": array for number, array in enumerate(self.state)}
        arrays |= {f"best/{number}": array for number, array in enumerate(self.best)}
        buffer = io.BytesIO()
        encoded = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        np.savez(buffer, allow_pickle=False, meta=encoded, losses=self.losses, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Checkpoint:
        """Undo `to_bytes`; InvalidInputError, naming `where`, on anything else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                meta = json.loads(arrays["meta"].tobytes())
                if meta["schema"] != _SCHEMA:
                    raise InvalidInputError(f"{where}: expected checkpoint schema {_SCHEMA}, got {meta['schema']}")
                names = set(arrays.files)
                groups = {
                    group: [arrays[f"{group}/{n}"] for n in range(sum(name.startswith(f"{group}/") for name in names))]
                    for group in ("state", "best")
                }
                return cls(
                    int(meta["step"]),
                    int(meta["epoch"]),
                    int(meta["step_of_epoch"]),
                    arrays["losses"],
                    groups["state"],
                    groups["best"],
                    meta["progress"],
                    meta["settings"],
                )
        except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"{where}: not a checkpoint: {error}", hint="delete it to start the training anew"
            ) from error

    def require_settings(self, settings: Mapping[str, Any], where: str) -> None:
        """Raise InvalidInputError, naming the difference, where the training began with other settings."""
        keys = sorted(set(settings) | set(self.settings))
        differing = [key for key in keys if settings.get(key) != self.settings.get(key)]
        if differing:
            changes = "; ".join(f"{key} {self.settings.get(key)!r}, now {settings.get(key)!r}" for key in differing)
            raise InvalidInputError(
                f"{where}: was begun with other settings: {changes}",
                hint="resume with the same settings, or delete the file to start anew",
            )


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file: after a kill or a loss of power it holds the old or the new bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
