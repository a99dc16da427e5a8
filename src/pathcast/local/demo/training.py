"""The demo's training step: from stored tracks to a served forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pathcast.core.errors import GateFailedError
from pathcast.core.settings import PlatformSettings
from pathcast.core.trajectory import Trajectory
from pathcast.export.forecaster import write_forecaster
from pathcast.export.parity import open_session
from pathcast.forecasting.metrics import ForecastMetrics
from pathcast.forecasting.trained import shipped_forecaster
from pathcast.forecasting.windows import cut_windows
from pathcast.registry.publishing import publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.repository import PublishedModel
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.model_versions import TrainingTracks
from pathcast.training.forecaster_task import fine_tune
from pathcast.training.loop import EpochReport

MODEL = "forecaster"
SMOKE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class TrainedOnSite:
    """What training on the stored tracks gave; the figures are over held-out tracks, in the tracks' units."""

    published: PublishedModel
    windows: int
    before: ForecastMetrics
    after: ForecastMetrics
    constant_velocity: ForecastMetrics
    parity_max_error: float


def train_and_serve(
    trajectories: Sequence[Trajectory],
    origin: TrainingTracks,
    settings: PlatformSettings,
    folder: Path,
    on_epoch: Callable[[EpochReport], None],
) -> TrainedOnSite:
    """Fine-tune the shipped forecaster, export it, check parity on real windows, and serve it.

    `origin` says where in the database the trajectories come from.
    Raises InvalidInputError where the tracks are too few to learn from, GateFailedError where a check fails.
    """
    tuned = fine_tune(trajectories, shipped_forecaster(), progress=on_epoch)
    observed = cut_windows(trajectories).observed
    exported = write_forecaster(tuned.forecaster, folder / MODEL, observed=observed)
    known = observed[:8].astype(np.float32)
    (expected,) = open_session(exported.onnx_path).run(["paths"], {"observed": known})

    def smoke_test(client: TritonClient, served: str, version: str) -> None:
        paths = client.infer(served, {"observed": known}, version=version).outputs["paths"]
        if paths.shape != expected.shape or np.abs(paths - expected).max() > SMOKE_TOLERANCE:
            raise GateFailedError(f"model {served} version {version}: Triton's answers are not the exported model's")

    weights = folder / "weights"
    tuned.forecaster.save(weights)
    given = Registration(
        onnx_path=exported.onnx_path,
        card=_card(tuned.windows_train, tuned.units, tuned.before, tuned.after, tuned.constant_velocity),
        metrics={"val_ade": tuned.after.ade, "val_fde": tuned.after.fde, "parity_max_error": exported.parity.largest},
        parameters={"windows_train": tuned.windows_train, "units": tuned.units},
        data_card={"windows_train": tuned.windows_train, "units": tuned.units},
        training_tracks=(origin,),
        example={"observed": known},
        weights=weights,
    )
    published = publish_model(settings, MODEL, given, exported.config_pbtxt, smoke_test=smoke_test)
    return TrainedOnSite(
        published, tuned.windows_train, tuned.before, tuned.after, tuned.constant_velocity, exported.parity.largest
    )


def _card(windows: int, units: str, before: ForecastMetrics, after: ForecastMetrics, straight: ForecastMetrics) -> str:
    lines = [
        "# forecaster, tuned on site",
        "",
        f"The shipped forecaster, fine-tuned on {windows} windows of tracks that this platform stored.",
        f"Errors in {units}, over held-out tracks of the same place (they also chose the epoch):",
        "",
        "| model | ADE | FDE |",
        "|---|---|---|",
        *(
            f"| {name} | {metrics.ade:.3f} | {metrics.fde:.3f} |"
            for name, metrics in (("tuned", after), ("as shipped", before), ("constant velocity", straight))
        ),
    ]
    return "\n".join(lines) + "\n"
