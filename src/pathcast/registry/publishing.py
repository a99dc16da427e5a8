"""From a model file to a served version: register, put on trial beside the champion, promote, go back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minio import Minio
from numpy.typing import NDArray

from pathcast.core.errors import GateFailedError, InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.registry.repository import ModelRepository, PublishedModel
from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
from pathcast.registry.verdicts import Verdict, failed, read_verdicts, verdict_tags
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.connection import connect
from pathcast.storage.model_versions import StoredModelVersion, TrainingTracks, write_model_version

SMOKE_TEST = "smoke_test"
REPLACED = "replaced_version"
"""Tag of a champion: the version that served before it, which a roll-back returns to."""

# Triton takes a folder for unchanged whose newest time, in whole seconds, is the one it loaded; then the
# config is written again, in a later second.
_RELOADS = 2
_CLOCK_STEP_S = 1.1

SmokeTest = Callable[[TritonClient, str, str], None]
"""Called with a client, the served model's name and its version; raises GateFailedError for wrong live answers."""


def challenger_of(model: str) -> str:
    """The name under which a model's version on trial is served, where no client comes by accident."""
    return f"{model}_{CHALLENGER}"


def object_store(settings: PlatformSettings) -> Minio:
    """A client of the platform's object store."""
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
    )


def publish_model(
    settings: PlatformSettings,
    model: str,
    onnx_path: Path,
    config_pbtxt: str,
    *,
    card: str,
    smoke_test: SmokeTest,
    metrics: Mapping[str, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    data_card: Mapping[str, Any] | None = None,
    training_tracks: Sequence[TrainingTracks] = (),
    example: Mapping[str, NDArray[Any]] | None = None,
) -> PublishedModel:
    """Make `onnx_path` the champion of `model`, once its smoke test on trial has passed.

    Raises GateFailedError where Triton does not serve it or the smoke test fails; the champion before goes on.
    """
    lifecycle = ModelLifecycle(settings)
    version = lifecycle.register(
        model,
        onnx_path,
        card=card,
        metrics=metrics or {},
        parameters=parameters or {},
        tags=tags or {},
        data_card=data_card or {},
        training_tracks=training_tracks,
        example=example,
    )
    published = lifecycle.publish(model, version, onnx_path, config_pbtxt, card=card)
    lifecycle.deploy_challenger(model, version)
    lifecycle.smoke_test(model, version, smoke_test)
    lifecycle.promote(model, version)
    return published


class ModelLifecycle:
    """The versions of models: registered in MLflow, stored in the repository, on trial or serving in Triton.

    Triton serves the champion under the model's own name and a challenger under `challenger_of(model)`, so the
    champion is untouched by anything that happens to a challenger. Every step can be repeated.
    """

    def __init__(self, settings: PlatformSettings) -> None:
        self._settings = settings
        self._registry = ModelRegistry(settings.mlflow_tracking_uri)
        self._repository = ModelRepository(object_store(settings), settings.models_bucket)

    def register(
        self,
        model: str,
        onnx_path: Path,
        *,
        card: str,
        metrics: Mapping[str, float],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        data_card: Mapping[str, Any],
        training_tracks: Sequence[TrainingTracks] = (),
        example: Mapping[str, NDArray[Any]] | None = None,
        weights: Path | None = None,
    ) -> int:
        """Make the file a version in the registry and in the lineage, which serves nobody; return its number.

        `data_card` and `training_tracks` say what it learned from; the lineage of its rows leads there. `weights`
        is the folder of the trained model, kept so that a later training can start from it.
        """
        version = self._registry.register(
            model,
            onnx_path,
            card=card,
            metrics=metrics,
            parameters=parameters,
            tags=tags,
            example=example,
            weights=weights,
        )
        sha256 = hashlib.sha256(onnx_path.read_bytes()).hexdigest()
        origin = StoredModelVersion(model, str(version), sha256, data_card, training_tracks)
        with connect(self._settings.database_url, application_name="publishing") as connection:
            write_model_version(connection, origin)
        return version

    def publish(self, model: str, version: int, onnx_path: Path, config_pbtxt: str, *, card: str) -> PublishedModel:
        """Store a registered version in the repository, where it serves nobody yet."""
        return self._repository.add(model, onnx_path, config_pbtxt, version=version, card=card)

    def fetch_weights(self, model: str, target: Path) -> int | None:
        """Write the champion's trained weights into `target`; its version, or None where none are kept."""
        champion = self._registry.alias(model, CHAMPION)
        if champion is None or not self._registry.fetch_weights(model, champion, target):
            return None
        return champion

    def champion(self, model: str) -> int | None:
        """The version that serves, or None."""
        return self._registry.alias(model, CHAMPION)

    def newest(self, model: str) -> int | None:
        """The version that was registered last, or None."""
        versions = self._registry.versions(model)
        return versions[-1].version if versions else None

    def fetch_champion(self, model: str, target: Path) -> int | None:
        """Write the champion's file to `target` and return its version; None where there is no champion."""
        champion = self._registry.alias(model, CHAMPION)
        if champion is not None:
            self._repository.fetch(model, champion, target)
        return champion

    def note_failure(self, model: str, run: str, reason: str) -> None:
        """Keep in the registry that a run for `model` failed, and why."""
        self._registry.log_failure(model, run, reason)

    def deploy_challenger(self, model: str, version: int) -> str:
        """Serve a version on trial; return the name that it is served under."""
        served = challenger_of(model)
        with self._triton() as client:
            self._serve(client, model, version, under=served)
        self._registry.set_alias(model, CHALLENGER, version)
        return served

    def smoke_test(self, model: str, version: int, test: SmokeTest) -> Verdict:
        """Try the challenger's live answers, record the verdict, and raise GateFailedError where they are wrong."""
        try:
            with self._triton() as client:
                test(client, challenger_of(model), str(version))
        except PathcastError as error:
            verdict = Verdict(SMOKE_TEST, False, str(error))
            self.record(model, version, verdict)
            raise
        verdict = Verdict(SMOKE_TEST, True, "the live answers are right")
        self.record(model, version, verdict)
        return verdict

    def record(self, model: str, version: int, verdict: Verdict) -> None:
        """Store a gate's verdict with the version."""
        self._registry.tag(model, version, verdict_tags(verdict))

    def verdicts(self, model: str, version: int) -> list[Verdict]:
        """What the gates have said of a version, by name."""
        return read_verdicts(self._registry.tags(model, version))

    def promote(self, model: str, version: int) -> None:
        """Make a version the champion.

        Raises GateFailedError where a gate has failed or the smoke test was never passed, or where Triton does
        not serve the version; in each case the champion before serves on.
        """
        verdicts = self.verdicts(model, version)
        if refused := failed(verdicts):
            reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
            raise GateFailedError(f"model {model} version {version} failed {reasons}", hint="the champion serves on")
        if not any(verdict.gate == SMOKE_TEST for verdict in verdicts):
            raise GateFailedError(
                f"model {model} version {version}: never tried on a live endpoint",
                hint=f"pathcast pipeline run train_model, or pathcast models import, try a {model} before it serves",
            )
        champion = self._registry.alias(model, CHAMPION)
        self._switch(model, version, champion)
        if champion is not None and champion != version:
            self._registry.tag(model, version, {REPLACED: str(champion)})
        self._registry.set_alias(model, CHAMPION, version)
        if self._registry.alias(model, CHALLENGER) == version:
            self.withdraw_challenger(model)

    def roll_back(self, model: str, reason: str) -> int:
        """Return to the version that served before the champion; return its number.

        The version that is left is marked with the reason, and is not promoted again.
        """
        champion = self._registry.alias(model, CHAMPION)
        before = None if champion is None else self._registry.tags(model, champion).get(REPLACED)
        if champion is None or before is None:
            raise InvalidInputError(
                f"model {model}: no version served before the champion, so there is none to return to",
                hint=f"pathcast models show {model} lists its versions; promote one of them",
            )
        self._switch(model, int(before), champion)
        self._registry.set_alias(model, CHAMPION, int(before))
        self.record(model, champion, Verdict("in_service", False, reason))
        return int(before)

    def restore(self, model: str) -> int | None:
        """Make Triton serve the champion that the registry names, whatever was left half-way; None without one."""
        champion = self._registry.alias(model, CHAMPION)
        if champion is not None:
            self._switch(model, champion, None)
        return champion

    def withdraw_challenger(self, model: str) -> None:
        """End the trial, whatever came of it; the version stays in registry and repository."""
        served = challenger_of(model)
        if served in self._repository.models():
            with self._triton() as client:
                client.unload(served)
            self._repository.remove(served)
        self._registry.drop_alias(model, CHALLENGER)

    def prune(self, model: str, keep: int) -> list[int]:
        """Delete the files of all but the newest `keep` versions and those with a role; return the numbers."""
        champion = self._registry.alias(model, CHAMPION)
        roles = {champion, self._registry.alias(model, CHALLENGER)}
        if champion is not None and (before := self._registry.tags(model, champion).get(REPLACED)):
            roles.add(int(before))
        versions = [published.version for published in self._repository.versions(model)]
        gone = [version for version in versions[: max(len(versions) - keep, 0)] if version not in roles]
        for version in gone:
            self._repository.remove(model, version)
        return gone

    def _switch(self, model: str, version: int, champion: int | None) -> None:
        with self._triton() as client:
            try:
                self._serve(client, model, version)
            except PathcastError:
                if champion is not None:
                    self._serve(client, model, champion)
                raise

    def _serve(self, client: TritonClient, model: str, version: int, *, under: str | None = None) -> None:
        served = under or model
        for attempt in range(1 + _RELOADS):
            if attempt:
                time.sleep(_CLOCK_STEP_S)
            self._repository.serve(model, version, under=under)
            client.load(served)
            if client.ready(served, str(version)) and client.canary(served):
                return
        raise GateFailedError(
            f"model {served}: version {version} is published, but Triton does not serve it",
            hint="see Triton's log: pathcast logs triton",
        )

    def _triton(self) -> TritonClient:
        return TritonClient(self._settings.triton_grpc, shared_memory=self._settings.triton_shared_memory)
