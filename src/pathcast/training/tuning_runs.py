"""A search as runs in MLflow: one for the search, and below it one for each trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from optuna.trial import FrozenTrial, TrialState
from pydantic import SecretStr

from pathcast.registry.tracking import tracking_client, translated
from pathcast.training.remembered_run import RememberedRun

_PARENT_TAG = "mlflow.parentRunId"


class SearchRuns:
    """The experiment `tune-NAME`. A search that goes on does so in the same run; `folder` remembers which.

    A server that fails on the way is warned about once and never stops the search; one that does not answer at the
    start raises ServiceUnavailableError.
    """

    def __init__(self, tracking_uri: SecretStr, name: str, value_name: str, folder: Path) -> None:
        self._client = tracking_client(tracking_uri)
        self._value_name, self._memory = value_name, RememberedRun(self._client, folder, "search")
        try:
            experiment = self._client.get_experiment_by_name(f"tune-{name}")
            self._experiment = (
                experiment.experiment_id if experiment else self._client.create_experiment(f"tune-{name}")
            )
            known = self._memory.read()
            self._run = str(known.get("run_id", "")) or self._start(f"tune-{name}")
            self._known: set[int] = set(known.get("trials", ()))
        except MlflowException as error:
            raise translated(error) from error

    @property
    def broken(self) -> bool:
        """Whether MLflow misses a part."""
        return self._memory.broken

    def add(self, trial: FrozenTrial) -> None:
        """Record a trial that has ended, once."""
        if self._memory.broken or trial.number in self._known:
            return
        with self._memory.tolerated():
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
            self._memory.remember(self._run, trials=sorted(self._known))

    def finish(self, best: FrozenTrial, files: Sequence[Path]) -> None:
        """Record what came out."""
        if self._memory.broken:
            return
        with self._memory.tolerated():
            self._client.log_metric(self._run, f"best_{self._value_name}", best.value)
            self._client.set_tag(self._run, "best_trial", str(best.number))
            for path in files:
                self._client.log_artifact(self._run, str(path))
            self._client.set_terminated(self._run)

    def _start(self, name: str, parent: str | None = None) -> str:
        tags = {} if parent is None else {_PARENT_TAG: parent}
        run: str = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        return run
