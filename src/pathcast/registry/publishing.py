"""From a model file to a served version: register, put on trial beside the champion, promote, go back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from minio import Minio

from pathcast.core.errors import GateFailedError, InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.export.parity import file_answers
from pathcast.registry.gates import SMOKE_TEST, Arrays, smoke_gate
from pathcast.registry.registration import Registration
from pathcast.registry.repository import ModelRepository, PublishedModel
from pathcast.registry.tracking import CHALLENGER, CHAMPION, FailedRun, ModelRegistry
from pathcast.registry.verdicts import Verdict, failed, read_verdicts, verdict_tags
from pathcast.serving.replicas import replica_addresses
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.connection import connect
from pathcast.storage.model_versions import StoredModelVersion, write_model_version
from pathcast.training.provenance import git_commit

REPLACED = "replaced_version"
"""Tag of a champion: the version that served before it, which a roll-back returns to."""

_TOLD = "refusal_told"

# Triton takes a folder for unchanged whose newest time, in whole seconds, is the one it loaded; then the
# config is written again, in a later second.
_RELOADS = 2
_CLOCK_STEP_S = 1.1


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


def publish_model(settings: PlatformSettings, model: str, given: Registration, config_pbtxt: str) -> PublishedModel:
    """Make the given file the champion of `model`, once it has answered the given example on trial as it does here.

    Raises GateFailedError where Triton does not serve it or answers otherwise; the champion before goes on.
    """
    if given.example is None:
        raise InvalidInputError(f"model {model}: expected an example of its inputs to try it by")
    lifecycle, expected = ModelLifecycle(settings), file_answers(given.onnx_path, given.example)
    version = lifecycle.register(model, given)
    published = lifecycle.publish(model, version, given.onnx_path, config_pbtxt, card=given.card)
    try:
        lifecycle.deploy_challenger(model, version)
        lifecycle.smoke_test(model, version, given.example, expected)
        lifecycle.promote(model, version)
    except PathcastError:
        with suppress(PathcastError):
            lifecycle.withdraw_challenger(model)
        raise
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

    def register(self, model: str, given: Registration) -> int:
        """Make the file a version in the registry and in the lineage, which serves nobody; return its number.

        The version's tags name the code's commit, the SHA-256 of the file and that of the data card as well.
        """
        sha256 = hashlib.sha256(given.onnx_path.read_bytes()).hexdigest()
        tags = {"git_commit": git_commit() or "unknown", "sha256": sha256}
        if given.data_card:
            card = json.dumps(dict(given.data_card), sort_keys=True, default=str)
            tags["data_card_sha256"] = hashlib.sha256(card.encode()).hexdigest()
        version = self._registry.register(model, replace(given, tags={**tags, **given.tags}))
        origin = StoredModelVersion(model, str(version), sha256, given.data_card)
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

    def fetch(self, model: str, version: int, target: Path) -> None:
        """Write the file of a published version to `target`."""
        self._repository.fetch(model, version, target)

    def note_failure(self, model: str, run: str, reason: str) -> None:
        """Keep in the registry that a run for `model` failed, and why."""
        self._registry.log_failure(model, run, reason)

    def failures(self, model: str) -> list[FailedRun]:
        """What failed for `model`, newest first."""
        return self._registry.failures(model)

    def tell_failures(self, model: str, since: datetime) -> list[FailedRun]:
        """What failed from `since` on and nobody was told of, newest first; told once."""
        return self._registry.tell_failures(model, since)

    def refusal(self, model: str) -> tuple[int, list[Verdict]] | None:
        """The newest version and the verdicts that keep it from serving, where it has such; told once."""
        newest = self.newest(model)
        if newest is None:
            return None
        tags = self._registry.tags(model, newest)
        refused = failed(read_verdicts(tags))
        if not refused or _TOLD in tags:
            return None
        self._registry.tag(model, newest, {_TOLD: "true"})
        return newest, refused

    def deploy_challenger(self, model: str, version: int) -> str:
        """Serve a version on trial; return the name that it is served under."""
        served = challenger_of(model)
        self._serve(model, version, under=served)
        self._registry.set_alias(model, CHALLENGER, version)
        return served

    def smoke_test(self, model: str, version: int, example: Arrays, expected: Arrays) -> Verdict:
        """Ask every replica for the challenger's answers to the example, and record whether they are those expected."""
        served = challenger_of(model)

        def asks(client: TritonClient) -> Callable[[], Arrays]:
            return lambda: client.infer(served, example, version=str(version)).outputs

        with self._replicas() as clients:
            verdict = smoke_gate([asks(client) for client in clients], expected)
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
            parts = self._repository.parts(served)
            with self._replicas() as clients:
                for name in (served, *parts):
                    for client in clients:
                        client.unload(name)
                    self._repository.remove(name)
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
        try:
            self._serve(model, version)
        except PathcastError:
            if champion is not None:
                self._serve(model, champion)
            raise

    def _serve(self, model: str, version: int, *, under: str | None = None) -> None:
        with self._replicas() as clients:
            serve_version(clients, self._repository, model, version, under=under)

    @contextmanager
    def _replicas(self) -> Iterator[list[TritonClient]]:
        """A client of each replica of Triton: what is loaded into one is not in the others."""
        shared = self._settings.triton_shared_memory
        with ExitStack() as opened:
            yield [
                opened.enter_context(TritonClient(address, shared_memory=shared))
                for address in replica_addresses(self._settings.triton_grpc)
            ]


def serve_version(
    clients: list[TritonClient], repository: ModelRepository, model: str, version: int, *, under: str | None = None
) -> None:
    """Make every Triton serve a stored version, with all of its parts, while the one before answers.

    Raises GateFailedError where one does not, PathcastError where it refuses to load.
    """
    served = under or model
    absent: list[str] = []
    for attempt in range(1 + _RELOADS):
        if attempt:
            time.sleep(_CLOCK_STEP_S)
        try:
            *parts, _ = repository.serve(model, version, under=under)
            _load(clients, parts)
            # An ensemble that names a part which is not there would stop answering.
            absent = [
                f"{each.address} ({part})" for part in parts for each in clients if not each.ready(part, str(version))
            ]
            if absent:
                continue
            _load(clients, [served])
        except PathcastError:
            # A busy store may not have answered Triton in time.
            if attempt == _RELOADS:
                raise
            continue
        absent = [each.address for each in clients if not _serves(each, served, version)]
        if not absent:
            _load(clients, repository.settle(model, version, under=under))
            return
    raise GateFailedError(
        f"model {served}: version {version} is published, but Triton at {', '.join(absent)} does not serve it",
        hint="see Triton's log: pathcast logs triton",
    )


def _load(clients: list[TritonClient], names: list[str]) -> None:
    for name in names:
        for client in clients:
            client.load(name)


def _serves(client: TritonClient, served: str, version: int) -> bool:
    return client.ready(served, str(version)) and client.canary(served)
