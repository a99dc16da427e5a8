"""A trained forecaster as a served model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from pathcast.export.onnx import to_onnx
from pathcast.export.onnx_file import save_onnx
from pathcast.export.parity import Arrays, Parity, check_parity
from pathcast.export.triton_config import ServingOptions, check_config, render_config
from pathcast.forecasting.model import restore_forecaster
from pathcast.forecasting.trained import TrainedForecaster
from pathcast.forecasting.walks import random_walks
from pathcast.forecasting.windows import Windows

OUTPUTS = ("paths", "log_probs")
PARITY_TOLERANCE = {"paths": 1e-4, "log_probs": 1e-4}
"""Metres, and nats."""

MAX_BATCH_SIZE = 1024
_PARITY_WINDOWS = 4096


@dataclass(frozen=True, slots=True)
class ExportedForecaster:
    """`onnx_path` and `config_pbtxt` are ready for the model repository."""

    onnx_path: Path
    config_pbtxt: str
    parity: Parity


def write_forecaster(
    trained: TrainedForecaster,
    directory: Path,
    version: int = 1,
    *,
    windows: Windows | None = None,
    model: str = "forecaster",
) -> ExportedForecaster:
    """Write `directory`/`version`/model.onnx and `directory`/config.pbtxt; nothing is written if parity fails.

    The parity check takes at most 4096 of the `windows`, spread evenly; without any,
    walks of random speed, heading and place. Raises GateFailedError where the file differs from the network.
    """
    return write_network(restore_forecaster(trained), directory, version, windows=windows, model=model)


def write_network(
    network: keras.Model,
    directory: Path,
    version: int = 1,
    *,
    windows: Windows | None = None,
    model: str = "forecaster",
) -> ExportedForecaster:
    """`write_forecaster` for a network with its weights."""
    converted = to_onnx(network, OUTPUTS)
    inputs = random_walks(512, seed=0) if windows is None else _spread(windows).inputs()

    def reference(inputs: Arrays) -> Arrays:
        return {name: np.asarray(values) for name, values in network(dict(inputs), training=False).items()}

    parity = check_parity(reference, converted.SerializeToString(), inputs, tolerance=PARITY_TOLERANCE)
    onnx_path = directory / str(version) / "model.onnx"
    save_onnx(converted, onnx_path)
    config = render_config(model, onnx_path, ServingOptions(max_batch_size=MAX_BATCH_SIZE, threads=1))
    check_config(config, onnx_path)
    (directory / "config.pbtxt").write_text(config, encoding="utf-8")
    return ExportedForecaster(onnx_path, config, parity)


def _spread(windows: Windows) -> Windows:
    return windows.select(np.linspace(0, len(windows) - 1, min(len(windows), _PARITY_WINDOWS)).round().astype(np.int64))
