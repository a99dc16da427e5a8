"""MLflow: one run and one registered version for every model that may be served.

The registry's version number is the version in the model repository and in Triton. Alias `champion`
marks the version that serves, `challenger` one that is on trial.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import onnx
import onnxruntime
from numpy.typing import NDArray
from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.registry.registration import Registration

# Importing MLflow starts a thread that reports its use to its makers, unless it is told not to before.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow  # noqa: E402
import mlflow.onnx  # noqa: E402
from mlflow.exceptions import MlflowException, RestException  # noqa: E402

CHAMPION, CHALLENGER = "champion", "challenger"
_ARTIFACT_FOLDER, _WEIGHTS_FOLDER, _DATA_CARD = "model", "weights", "data_card.json"
_TOLD, _RUN = "told", "run"
# MLflow's own seven repetitions make a command wait four minutes for an absent server; these take some 7 s.
_REPETITIONS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A version in the registry, with what is known about it; made `at`, aware UTC."""

    model: str
    version: int
    at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FailedRun:
    """What failed for a model (a step, or a run as a whole), why, and when, aware UTC; whether people know of it."""

    name: str
    reason: str
    at: datetime
    told: bool = False
    run_id: str = ""


class ModelRegistry:
    """The MLflow server at `tracking_uri`; raises ServiceUnavailableError when it does not answer."""

    def __init__(self, tracking_uri: SecretStr) -> None:
        self._client: Any = tracking_client(tracking_uri)

    def register(self, model: str, given: Registration) -> int:
        """Log a run with what is given, register it as a new version, and return its number."""
        try:
            run_id = self._log_run(model, given)
            if given.weights is not None:
                for path in sorted(path for path in given.weights.iterdir() if path.is_file()):
                    self._client.log_artifact(run_id, str(path), _WEIGHTS_FOLDER)
            self._ensure_model(model)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{_ARTIFACT_FOLDER}"
            version = self._client.create_model_version(model, source, run_id=run_id, tags=dict(given.tags))
        except MlflowException as error:
            raise translated(error) from error
        return int(version.version)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point `alias` at a version; it leaves the version that had it."""
        try:
            self._client.set_registered_model_alias(model, alias, str(version))
        except MlflowException as error:
            raise translated(error) from error

    def alias(self, model: str, alias: str) -> int | None:
        """The version that `alias` points at, or None."""
        try:
            return int(self._client.get_model_version_by_alias(model, alias).version)
        except RestException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise translated(error) from error
        except MlflowException as error:
            raise translated(error) from error

    def drop_alias(self, model: str, alias: str) -> None:
        """Take `alias` away from the version that has it, if any."""
        if self.alias(model, alias) is None:
            return
        try:
            self._client.delete_registered_model_alias(model, alias)
        except MlflowException as error:
            raise translated(error) from error

    def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a version, in place of those of the same name."""
        try:
            for name, value in tags.items():
                self._client.set_model_version_tag(model, str(version), name, value)
        except MlflowException as error:
            raise translated(error) from error

    def tags(self, model: str, version: int) -> dict[str, str]:
        """The tags of a version; raises InvalidInputError where there is none."""
        try:
            return dict(self._client.get_model_version(model, str(version)).tags)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise InvalidInputError(
                    f"model {model} version {version}: not registered", hint="see `pathcast models list`"
                ) from error
            raise translated(error) from error

    def log_failure(self, model: str, name: str, reason: str, *, run: str = "") -> None:
        """Keep in the model's experiment what failed (a step, or a run) and why; of one run the last reason of each."""
        try:
            noted = self._noted(model, name, run)
            for run_id in noted:
                self._client.set_tag(run_id, "failure", reason[:5000])
            if not noted:
                tags = {"failure": reason[:5000], "pipeline_run": name, _RUN: run}
                run_id = self._client.create_run(self._experiment(model), tags=tags, run_name=name).info.run_id
                self._client.set_terminated(run_id, status="FAILED")
        except MlflowException as error:
            raise translated(error) from error

    def forget_failure(self, model: str, name: str, *, run: str) -> None:
        """Delete what was kept of that name and run."""
        try:
            for run_id in self._noted(model, name, run):
                self._client.delete_run(run_id)
        except MlflowException as error:
            raise translated(error) from error

    def failures(self, model: str) -> list[FailedRun]:
        """Failed runs of the model's experiment, newest first."""
        try:
            found = self._client.search_runs([self._experiment(model)], "attributes.status = 'FAILED'")
        except MlflowException as error:
            raise translated(error) from error
        return [_failed_run(run) for run in found]

    def mark_told(self, failures: Iterable[FailedRun]) -> None:
        """Note that people know of these failures."""
        try:
            for each in failures:
                self._client.set_tag(each.run_id, _TOLD, "true")
        except MlflowException as error:
            raise translated(error) from error

    def fetch_weights(self, model: str, version: int, target: Path) -> bool:
        """Write what was registered as a version's weights into `target`; whether there was anything."""
        try:
            run_id = self._client.get_model_version(model, str(version)).run_id
            found = self._client.list_artifacts(run_id, _WEIGHTS_FOLDER)
            with TemporaryDirectory() as folder:
                for item in found:
                    shutil.copy2(self._client.download_artifacts(run_id, item.path, folder), target)
        except MlflowException as error:
            raise translated(error) from error
        return bool(found)

    def metrics(self, model: str, version: int) -> dict[str, float]:
        """The metrics of the run that made a version."""
        try:
            run_id = self._client.get_model_version(model, str(version)).run_id
            return dict(self._client.get_run(run_id).data.metrics)
        except MlflowException as error:
            raise translated(error) from error

    def versions(self, model: str) -> list[RegisteredModel]:
        """All versions, oldest first; none of a model that is not registered."""
        try:
            # A search over versions leaves their aliases out.
            aliases = self._client.get_registered_model(model).aliases
            found = self._client.search_model_versions(f"name = '{model}'")
        except RestException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise translated(error) from error
        except MlflowException as error:
            raise translated(error) from error
        versions = []
        for item in found:
            number = int(item.version)
            marks = tuple(sorted(alias for alias, version in aliases.items() if int(version) == number))
            versions.append(RegisteredModel(model, number, _moment(item.creation_timestamp), marks, dict(item.tags)))
        return sorted(versions, key=lambda version: version.version)

    def _noted(self, model: str, name: str, run: str) -> list[str]:
        """The ids of MLflow's runs that keep such a failure; none without a run."""
        wanted = f"attributes.status = 'FAILED' AND tags.pipeline_run = '{name}' AND tags.{_RUN} = '{run}'"
        found = self._client.search_runs([self._experiment(model)], wanted) if run else ()
        return [each.info.run_id for each in found]

    def _log_run(self, model: str, given: Registration) -> str:
        created = self._client.create_run(self._experiment(model), tags=dict(given.tags), run_name=given.onnx_path.stem)
        run_id: str = created.info.run_id
        for name, value in given.parameters.items():
            self._client.log_param(run_id, name, value)
        for name, number in given.metrics.items():
            self._client.log_metric(run_id, name, number)
        with TemporaryDirectory() as folder:
            packed = _as_mlflow_model(given.onnx_path, given.example, Path(folder))
            self._client.log_artifacts(run_id, str(packed), _ARTIFACT_FOLDER)
        self._client.log_text(run_id, given.card, f"{_ARTIFACT_FOLDER}/README.md")
        if given.data_card:
            self._client.log_dict(run_id, dict(given.data_card), _DATA_CARD)
        self._client.set_terminated(run_id)
        return run_id

    def _experiment(self, model: str) -> str:
        experiment = self._client.get_experiment_by_name(model)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(model))

    def _ensure_model(self, model: str) -> None:
        try:
            self._client.create_registered_model(model)
        except RestException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _failed_run(run: Any) -> FailedRun:
    tags, at = run.data.tags, _moment(run.info.start_time)
    return FailedRun(tags.get("pipeline_run", ""), tags.get("failure", ""), at, _TOLD in tags, run.info.run_id)


def _as_mlflow_model(onnx_path: Path, example: Mapping[str, NDArray[Any]] | None, folder: Path) -> Path:
    """The file in MLflow's own layout, so that `mlflow.onnx.load_model` takes it."""
    target = folder / _ARTIFACT_FOLDER
    signature = None
    if example is not None:
        session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(names, dict(example)), strict=True))
        signature = mlflow.models.infer_signature(dict(example), outputs)
    mlflow.onnx.save_model(
        onnx.load(str(onnx_path)),
        target,
        signature=signature,
        input_example=None if example is None else dict(example),
        pip_requirements=["onnxruntime"],
        save_as_external_data=False,
    )
    return target


def tracking_client(tracking_uri: SecretStr) -> Any:
    """MLflow's client, quiet, quick to give up, and with the credentials kept out of what it prints."""
    # The client would print the address of each run.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, value in _REPETITIONS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    address = _address_without_credentials(tracking_uri)
    return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


def _address_without_credentials(tracking_uri: SecretStr) -> str:
    """The address alone, as MLflow's messages quote it; the credentials go where MLflow looks for them."""
    address = tracking_uri.get_secret_value()
    parts = urlsplit(address)
    if parts.username is None:
        return address
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def translated(error: MlflowException) -> PathcastError:
    """What the client raised as an error of ours, without credentials."""
    # A server may quote an address of its own, with credentials.
    message = re.sub(r"//[^/\s]*@", "//", str(error.message))
    if isinstance(error, RestException):
        return PathcastError(f"MLflow refused: {message}")
    return ServiceUnavailableError(f"MLflow failed: {message}", hint="pathcast status shows whether it runs")
