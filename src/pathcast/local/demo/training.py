"""The demo's training: the lifecycle's own steps, in this process, from stored tracks to a forecaster that serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from pathcast.core.settings import PlatformSettings
from pathcast.core.trained_model import TrainedModel
from pathcast.forecasting.trained import SHIPPED_WEIGHTS
from pathcast.registry.publishing import ModelLifecycle, a_trial
from pathcast.storage.training_tracks import TrackSelection, select_tracks
from pathcast.training import lifecycle
from pathcast.training.forecaster import FAMILY
from pathcast.training.loop import EpochReport
from pathcast.training.prepared import prepare
from pathcast.training.train_family import Job, Watchers, train_family


@dataclass(frozen=True, slots=True)
class TrainedOnSite:
    """The version that serves now, and how far its file's answers are from the network's at the most."""

    version: int
    parity_max_error: float


def train_and_serve(
    connection: psycopg.Connection,
    selection: TrackSelection,
    settings: PlatformSettings,
    on_epoch: Callable[[EpochReport], None],
) -> TrainedOnSite:
    """Fine-tune the shipped forecaster on the selected tracks, export it, and make it the champion.

    Raises InvalidInputError where the tracks are too few to learn from, GateFailedError where a check fails.
    """
    name = FAMILY.name
    with TemporaryDirectory(prefix="pathcast-demo-") as scratch:
        raw, data, trained, exported = (Path(scratch) / part for part in ("raw", "data", "trained", "exported"))
        select_tracks(connection, selection, raw)
        prepared = prepare(FAMILY, raw, data)
        initial = TrainedModel.load(SHIPPED_WEIGHTS, name)
        train_family(Job.of(FAMILY, prepared, trained, FAMILY.fine_tuning, initial), watcher=_Epochs(on_epoch))
        differences = lifecycle.export_onnx(name, trained, data, exported)
        judged = FAMILY.evaluate(exported / lifecycle.EXPORTED_ONNX, data)
        version = lifecycle.register_model(settings, name, trained, exported, data, judged.metrics, ())
        lifecycle.publish_model(settings, name, version, exported)
        with a_trial(ModelLifecycle(settings), name) as run:
            lifecycle.deploy_model(settings, name, version, run=run)
            lifecycle.smoke_test(settings, name, version, exported, data)
            lifecycle.promote_model(settings, name, version)
    return TrainedOnSite(version, max(differences.values()))


class _Epochs(Watchers):
    """Tells of the epochs alone."""

    def __init__(self, on_epoch: Callable[[EpochReport], None]) -> None:
        super().__init__()
        self._on_epoch = on_epoch

    def epoch_ended(self, report: EpochReport) -> None:
        self._on_epoch(report)
