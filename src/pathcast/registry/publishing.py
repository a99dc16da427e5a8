"""From a model file to a served version: register, put on trial beside the champion, promote, go back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
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
from pathcast.registry.switching import serve_version, take_away
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

    def untold_failures(self, model: str, since: datetime) -> list[FailedRun]:
        """What failed from `since` on and nobody was told of, newest first."""
        return [each for each in self._registry.failures(model) if not each.told and each.at >= since]

    def failures_told(self, failures: Iterable[FailedRun]) -> None:
        """People know of these failures."""
        self._registry.mark_told(failures)

    def untold_refusals(self, model: str) -> list[tuple[int, list[Verdict]]]:
        """The newest versions in a row that gates keep from serving and nobody was told of, and what the gates said."""
        refused = []
        for entry in reversed(self._registry.versions(model)):
            verdicts = failed(read_verdicts(entry.tags))
            if not verdicts or _TOLD in entry.tags:
                break
            refused.append((entry.version, verdicts))
        return refused

    def refusal_told(self, model: str, version: int) -> None:
        """People know that this version was refused."""
        self._registry.tag(model, version, {_TOLD: "true"})

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
        with self._crowning(model, version, champion):
            if champion is not None and champion != version:
                self._registry.tag(model, version, {REPLACED: str(champion)})
        try:
            if self._registry.alias(model, CHALLENGER) == version:
                self.withdraw_challenger(model)
        except PathcastError as error:
            raise type(error)(
                f"model {model}: version {version} is the champion and serves, but its trial has not ended: "
                f"{error.message}",
                hint=f"promote it once more: pathcast models promote {model} {version}",
            ) from error

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
        with self._crowning(model, int(before), champion):
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
        if served := self._repository.served_under(model, challenger_of(model)):
            with self._replicas() as clients:
                take_away(clients, self._repository, served)
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

    @contextmanager
    def _crowning(self, model: str, version: int, champion: int | None) -> Iterator[None]:
        """Serve the version, note in the block what is to be kept of it, and name it champion: all of it or nothing.

        Where the registry fails after Triton was switched, Triton goes back to what the registry names.
        """
        self._switch(model, version, champion)
        try:
            yield
            self._registry.set_alias(model, CHAMPION, version)
        except PathcastError as error:
            # The answer alone may have been lost.
            with suppress(PathcastError):
                if self._registry.alias(model, CHAMPION) == version != champion:
                    return
            raise self._went_back(model, champion, error) from error

    def _went_back(self, model: str, champion: int | None, error: PathcastError) -> PathcastError:
        """Serve what served before; the error with how that went, and what to do next."""
        again = f"pathcast models list shows the champion of {model}; once the registry answers, repeat the command"
        try:
            if champion is None:
                with self._replicas() as clients:
                    take_away(clients, self._repository, self._repository.served_under(model, model), keep=model)
                return type(error)(f"model {model}: {error.message}; nothing serves, as before", hint=again)
            self._serve(model, champion)
        except PathcastError as second:
            return type(error)(
                f"model {model}: {error.message}; and Triton does not go back to version {champion}: {second.message}",
                hint=f"pathcast models promote {model} {champion}" if champion else again,
            )
        return type(error)(f"model {model}: {error.message}; version {champion} serves on", hint=again)

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
