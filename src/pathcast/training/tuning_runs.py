"""A search as runs in MLflow: one for the search, and below it one for each trial."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException
from optuna.trial import FrozenTrial, TrialState
from pydantic import SecretStr

from pathcast.registry.tracking import tracking_client, translated

RUN_FILE = "mlflow_run.json"
_PARENT_TAG = "mlflow.parentRunId"
_LOG = logging.getLogger(__name__)


class SearchRuns:
    """The experiment `tune-NAME`. A search that goes on does so in the same run; `folder` remembers which.

    A server that fails on the way is warned about once and never stops the search; one that does not answer at the
    start raises ServiceUnavailableError.
    """

    def __init__(self, tracking_uri: SecretStr, name: str, value_name: str, folder: Path) -> None:
        self._client = tracking_client(tracking_uri)
        self._value_name, self._file = value_name, folder / RUN_FILE
        self._broken = False
        try:
            experiment = self._client.get_experiment_by_name(f"tune-{name}")
            self._experiment = (
                experiment.experiment_id if experiment else self._client.create_experiment(f"tune-{name}")
            )
            self._run, self._known = self._known_run() or (self._start(f"tune-{name}"), set())
        except MlflowException as error:
            raise translated(error) from error

    def add(self, trial: FrozenTrial) -> None:
        """Record a trial that has ended, once."""
        if self._broken or trial.number in self._known:
            return
        with self._tolerant():
            run = self._start(f"trial-{trial.number}", parent=self._run)
            steps = [
                Metric(self._value_name, value, 0, step) for step, value in sorted(trial.intermediate_values.items())
            ]
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                steps.append(Metric(f"best_{self._value_name}", trial.value, 0, 0))
            self._client.log_batch(
                run,
                metrics=steps,
                params=[Param(name, str(value)) for name, value in trial.params.items()],
                tags=[RunTag("state", trial.state.name.lower())],
            )
            self._client.set_terminated(run, "FAILED" if trial.state == TrialState.FAIL else "FINISHED")
            self._known.add(trial.number)
            self._remember()

    def finish(self, best: FrozenTrial, files: Sequence[Path]) -> None:
        """Record what came out."""
        if self._broken:
            return
        with self._tolerant():
            self._client.log_metric(self._run, f"best_{self._value_name}", best.value)
            self._client.set_tag(self._run, "best_trial", str(best.number))
            for path in files:
                self._client.log_artifact(self._run, str(path))
            self._client.set_terminated(self._run)

    def _known_run(self) -> tuple[str, set[int]] | None:
        """The run that this search began in and the trials that it has, if MLflow still has it."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            run, trials = str(known["run_id"]), set(known["trials"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            self._client.get_run(run)
        except RestException:
            return None
        return run, trials

    def _start(self, name: str, parent: str | None = None) -> str:
        tags = {} if parent is None else {_PARENT_TAG: parent}
        run: str = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        return run

    def _remember(self) -> None:
        self._file.write_text(json.dumps({"run_id": self._run, "trials": sorted(self._known)}) + "\n", encoding="utf-8")

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            self._broken = True
            _LOG.warning("MLflow misses the rest of this search: %s", translated(error).message)
