"""Trainings as runs in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from pydantic import SecretStr

from pathcast.core.errors import PathcastError
from pathcast.core.trained_model import DESCRIPTION_FILE, PICTURES, WEIGHTS_FILE, TrainedModel
from pathcast.registry.tracking import tracking_client, translated
from pathcast.training.remembered_run import RememberedRun

if TYPE_CHECKING:
    from pathcast.training.loop import EpochReport


class RunWatcher:
    """A training's watcher that records it as a run of the experiment named after the family.

    Parameters are the settings; tags the data's version, the release and the commit; metrics those of each epoch;
    artefacts the model's folder, the pictures that the family draws, and the data card. The run's id stays in
    `output` while the training is unfinished, so that a resumed training goes on in the same run. A server that
    fails on the way is warned about once and never stops the training; one that fails at the start raises.
    """

    def __init__(self, tracking_uri: SecretStr, output: Path, data_folder: Path) -> None:
        self._client = tracking_client(tracking_uri)
        self._memory, self._data_folder = RememberedRun(self._client, output, "training"), data_folder
        self._run = ""

    def started(self, record: Mapping[str, Any]) -> None:
        try:
            self._run = str(self._memory.read().get("run_id", "")) or self._new_run(record)
        except MlflowException as error:
            raise translated(error) from error

    def stepped(self, done: int, steps: int) -> None:
        return

    def epoch_ended(self, report: EpochReport) -> None:
        if self._memory.broken:
            return
        figures = {"loss": report.loss, "seconds_per_epoch": report.seconds}
        figures |= {f"val_{name}": value for name, value in report.figures.items()}
        with self._memory.tolerated():
            metrics = [Metric(name, value, 0, report.epoch) for name, value in figures.items()]
            self._client.log_batch(self._run, metrics=metrics)

    def finished(self, folder: Path, model: TrainedModel) -> None:
        if self._memory.broken:
            return
        with self._memory.tolerated():
            best = {f"best_val_{name}": value for name, value in model.record["val"].items()}
            best["best_epoch"] = model.record["best_epoch"]
            self._client.log_batch(self._run, metrics=[Metric(name, value, 0, 0) for name, value in best.items()])
            for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
                self._client.log_artifact(self._run, str(folder / name), "model")
            for path in sorted((folder / PICTURES).glob("*.png")):
                self._client.log_artifact(self._run, str(path), PICTURES)
            for path in sorted(self._data_folder.glob("data_card.*")):
                self._client.log_artifact(self._run, str(path), "data")
            self._client.set_terminated(self._run)
            self._memory.forget()

    def _new_run(self, record: Mapping[str, Any]) -> str:
        family = str(record["family"])
        experiment = self._client.get_experiment_by_name(family)
        number = experiment.experiment_id if experiment else self._client.create_experiment(family)
        run: str = self._client.create_run(number, run_name=f"train-{family}").info.run_id
        parameters = {**record["training"], **record["settings"], "workers": record["workers"]}
        tags = {name: record[name] for name in ("data_version", "release", "git_commit") if record[name] is not None}
        self._client.log_batch(
            run,
            params=[Param(name, str(value)[:6000]) for name, value in parameters.items()],
            tags=[RunTag(name, str(value)) for name, value in tags.items()],
        )
        self._memory.remember(run)
        return run


def reachable(tracking_uri: SecretStr) -> bool:
    """Whether an MLflow server answers there."""
    try:
        tracking_client(tracking_uri).search_experiments(max_results=1)
    except (MlflowException, PathcastError):
        return False
    return True
