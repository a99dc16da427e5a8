"""From a model file to a served version: register, put on trial beside the champion, promote, go back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pathcast.core.errors import GateFailedError, InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.export.parity import file_answers
from pathcast.export.triton_config import tensor_names
from pathcast.registry.gates import Arrays, smoke_gate
from pathcast.registry.registration import Registration
from pathcast.registry.repository import ModelRepository, PublishedModel
from pathcast.registry.switching import serve_version, serves, take_away
from pathcast.registry.tracking import CHALLENGER, CHAMPION, FailedRun, ModelRegistry
from pathcast.registry.verdicts import IN_SERVICE, NO_CHAMPION, SMOKE_TEST, Verdict, failed, read_verdicts, verdict_tags
from pathcast.serving.remote_models import SIGNATURES
from pathcast.serving.replicas import replica_addresses
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.connection import connect
from pathcast.storage.model_lock import WAIT_S, model_lock
from pathcast.storage.model_versions import StoredModelVersion, write_model_version
from pathcast.storage.object_store import object_store
from pathcast.training.provenance import git_commit

REPLACED = "replaced_version"
"""Tag of a champion: the version that served before it, which a roll-back returns to."""

_GATES = "gates"
"""Tag of a version: the gates that it has to pass, separated by blanks."""
_TRIED_BY = "trial_run"
"""Tag of a version: the run that has put it on trial last."""
_TOLD = "refusal_told"


def challenger_of(model: str) -> str:
    """The name under which a model's version on trial is served, where no client comes by accident."""
    return f"{model}_{CHALLENGER}"


def publish_model(settings: PlatformSettings, model: str, given: Registration, config_pbtxt: str) -> PublishedModel:
    """Make the given file the champion of `model`, once it has answered the given example on trial as it does here.

    Raises InvalidInputError where it is not asked as models of that name are, and GateFailedError where Triton does not
    serve it or answers otherwise; the champion before goes on.
    """
    if misfit := _misfit(model, *tensor_names(config_pbtxt)):
        raise InvalidInputError(f"model {model}: {misfit}", hint="name the model that it is")
    if given.example is None:
        raise InvalidInputError(f"model {model}: expected an example of its inputs to try it by")
    lifecycle, expected = ModelLifecycle(settings), file_answers(given.onnx_path, given.example)
    version = lifecycle.register(model, given)
    published = lifecycle.publish(model, version, given.onnx_path, config_pbtxt, card=given.card)
    with a_trial(lifecycle, model) as run:
        lifecycle.deploy_challenger(model, version, run=run)
        lifecycle.smoke_test(model, version, given.example, expected)
        lifecycle.promote(model, version)
    return published


@contextmanager
def a_trial(lifecycle: ModelLifecycle, model: str) -> Iterator[str]:
    """The id of a run whose trial ends with the block, where the block is left by an error or by Ctrl-C.

    For what no pipeline watches: nobody else would end the trial.
    """
    run = uuid4().hex
    try:
        yield run
    except BaseException:
        with suppress(PathcastError):
            lifecycle.withdraw_challenger(model, run=run)
        raise


class ModelLifecycle:
    """The versions of models: registered in MLflow, stored in the repository, on trial or serving in Triton.

    Triton serves the champion under the model's own name and a challenger under `challenger_of(model)`, so the
    champion is untouched by anything that happens to a challenger. Every step can be repeated.

    The registry's alias says what serves; where Triton differs, it has to follow. What changes either holds the
    model's lock in the database, and raises ServiceUnavailableError where another holds it for all of `wait_s`.
    """

    def __init__(self, settings: PlatformSettings, *, wait_s: float = WAIT_S) -> None:
        self._settings = settings
        self._wait_s = wait_s
        self._registry = ModelRegistry(settings.mlflow_tracking_uri)
        self._repository = ModelRepository(object_store(settings), settings.models_bucket)

    def register(self, model: str, given: Registration) -> int:
        """Make the file a version in the registry and in the lineage, which serves nobody; return its number.

        The version's tags name the code's commit, the SHA-256 of the file and that of the data card, and the gates to
        pass as well.
        """
        sha256 = hashlib.sha256(given.onnx_path.read_bytes()).hexdigest()
        tags = {"git_commit": git_commit() or "unknown", "sha256": sha256, _GATES: " ".join(given.gates)}
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

    def note_failure(self, model: str, name: str, reason: str, *, run: str = "") -> None:
        """Keep in the registry what failed for `model` (a step, or a run), and why; once for the run of that id."""
        self._registry.log_failure(model, name, reason, run=run)

    def forget_failure(self, model: str, name: str, *, run: str) -> None:
        """What was noted of that name and run no longer holds."""
        self._registry.forget_failure(model, name, run=run)

    def failures(self, model: str) -> list[FailedRun]:
        """What failed for `model`, newest first."""
        return self._registry.failures(model)

    def untold_failures(self, model: str, since: datetime) -> list[FailedRun]:
        """What failed from `since` on and nobody was told of, newest first."""
        return [each for each in self._registry.failures(model) if not each.told and each.at >= since]

    def failures_told(self, failures: Iterable[FailedRun]) -> None:
        """People know of these failures."""
        self._registry.mark_told(failures)

    def untold_refusals(self, model: str, since: datetime) -> list[tuple[int, list[Verdict]]]:
        """Of the versions made from `since` on the newest in a row that gates keep from serving and nobody was told of.

        With what the gates said.
        """
        refused = []
        for entry in reversed(self._registry.versions(model)):
            verdicts = failed(read_verdicts(entry.tags))
            if not verdicts or _TOLD in entry.tags or entry.at < since:
                break
            refused.append((entry.version, verdicts))
        return refused

    def refusal_told(self, model: str, version: int) -> None:
        """People know that this version was refused."""
        self._registry.tag(model, version, {_TOLD: "true"})

    def deploy_challenger(self, model: str, version: int, *, run: str) -> str:
        """Serve a version on trial, in the place of any other, for the run of that id; the name it is served under."""
        served = challenger_of(model)
        with self._locked(model, f"deploy version {version}"):
            # First whose trial it is, so that one which is cut short can be ended.
            self._registry.tag(model, version, {_TRIED_BY: run})
            self._registry.set_alias(model, CHALLENGER, version)
            self._serve(model, version, under=served)
        return served

    def smoke_test(self, model: str, version: int, example: Arrays, expected: Arrays) -> Verdict:
        """Ask every replica for the challenger's answers to the example, and record whether they are those expected.

        Raises GateFailedError, and records nothing, where another version has taken its place on trial meanwhile.
        """
        served = challenger_of(model)

        def asks(client: TritonClient) -> Callable[[], Arrays]:
            return lambda: client.infer(served, example, version=str(version)).outputs

        with self._replicas() as clients:
            verdict = smoke_gate([asks(client) for client in clients], expected)
        on_trial = self._registry.alias(model, CHALLENGER)
        if not verdict.passed and on_trial != version:
            raise GateFailedError(
                f"model {model}: expected version {version} on trial, got {on_trial or 'none'}",
                hint="another run has taken its place; start this one again",
            )
        self.record(model, version, verdict)
        return verdict

    def record(self, model: str, version: int, verdict: Verdict) -> None:
        """Store a gate's verdict with the version."""
        self._registry.tag(model, version, verdict_tags(verdict))

    def verdicts(self, model: str, version: int) -> list[Verdict]:
        """What the gates have said of a version, by name."""
        return read_verdicts(self._registry.tags(model, version))

    def misfit(self, model: str, version: int) -> str | None:
        """Why a published version cannot be asked as models of that name are; None where it can, or any way will do."""
        return _misfit(model, *self._repository.tensors(model, version)) if model in SIGNATURES else None

    def promote(self, model: str, version: int) -> None:
        """Make a version the champion.

        Raises GateFailedError where a gate has failed or was never passed, or has compared the version with another
        champion than the present one, where it cannot be asked as models of that name are, or where Triton does not
        serve it; in each case the champion before serves on.
        """
        with self._locked(model, f"promote version {version}"):
            champion = self._registry.alias(model, CHAMPION)
            self._require_gates(model, version, champion)
            self._require_fit(model, version)
            with self._crowning(model, version, champion):
                if champion is not None and champion != version:
                    self._registry.tag(model, version, {REPLACED: str(champion)})
            try:
                if self._registry.alias(model, CHALLENGER) == version:
                    self._end_trial(model)
            except PathcastError as error:
                raise type(error)(
                    f"model {model}: version {version} is the champion and serves, but its trial has not ended: "
                    f"{error.message}",
                    hint=f"promote it once more: pathcast models promote {model} {version}",
                ) from error

    def roll_back(self, model: str, reason: str) -> int:
        """Return to the last version before the champion that was not rolled back from itself; return its number.

        The version that is left is marked with the reason, and is not promoted again. Raises GateFailedError where the
        one before cannot be asked as models of that name are.
        """
        with self._locked(model, "roll back"):
            champion = self._registry.alias(model, CHAMPION)
            before = None if champion is None else self._before(model, champion)
            if champion is None or before is None:
                raise InvalidInputError(
                    f"model {model}: expected a version that served before the champion and was not rolled back from, "
                    "found none",
                    hint=f"{_new_run(model)} trains another; pathcast models show {model} says what is known of each",
                )
            self._require_fit(model, before)
            try:
                with self._crowning(model, before, champion):
                    self.record(model, champion, Verdict(IN_SERVICE, False, reason))
            except BaseException:
                with suppress(PathcastError):
                    if self._registry.alias(model, CHAMPION) == champion:
                        self.record(model, champion, Verdict(IN_SERVICE, True, "a rollback from it did not succeed"))
                raise
        return before

    def astray(self, model: str) -> str | None:
        """How Triton differs from the champion that the registry names; None where it does not, or there is none."""
        with self._locked(model, "compare"), self._replicas() as clients:
            champion = self._registry.alias(model, CHAMPION)
            if champion is None:
                return None
            wrong = [each.address for each in clients if not serves(each, model, champion)]
        return f"Triton at {', '.join(wrong)} did not serve version {champion}" if wrong else None

    def restore(self, model: str) -> int | None:
        """Make Triton serve the champion that the registry names, whatever was left half-way; None without one."""
        with self._locked(model, "restore"):
            champion = self._registry.alias(model, CHAMPION)
            if champion is not None:
                self._serve(model, champion)
        return champion

    def withdraw_challenger(self, model: str, *, run: str) -> None:
        """End the trial if it is that run's, whatever came of it; the version stays in registry and repository."""
        with self._locked(model, "withdraw"):
            version = self._registry.alias(model, CHALLENGER)
            if version is not None and self._registry.tags(model, version).get(_TRIED_BY) == run:
                self._end_trial(model)

    def prune(self, model: str, keep: int) -> list[int]:
        """Delete the files of all but the newest `keep` versions and those with a role; return the numbers.

        Raises InvalidInputError for a model that is not in the repository.
        """
        with self._locked(model, "prune"):
            champion = self._registry.alias(model, CHAMPION)
            before = None if champion is None else self._before(model, champion)
            roles = {champion, before, self._registry.alias(model, CHALLENGER)}
            versions = [published.version for published in self._repository.versions(model)]
            if not versions:
                raise InvalidInputError(f"model {model}: not in the repository", hint="see `pathcast models list`")
            gone = [version for version in versions[: max(len(versions) - keep, 0)] if version not in roles]
            for version in gone:
                self._repository.remove(model, version)
        return gone

    def _locked(self, model: str, work: str) -> AbstractContextManager[None]:
        return model_lock(self._settings.database_url, model, work, wait_s=self._wait_s)

    def _require_gates(self, model: str, version: int, champion: int | None) -> None:
        tags, new_run = self._registry.tags(model, version), _new_run(model)
        name, verdicts = f"model {model} version {version}", read_verdicts(tags)
        # The champion may bear the mark of a rollback from it that was killed half-way.
        if (refused := failed(verdicts)) and version != champion:
            reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
            raise GateFailedError(f"{name} failed {reasons}", hint="the champion serves on")
        passed = [verdict.gate for verdict in verdicts]
        if missing := [gate for gate in tags.get(_GATES, SMOKE_TEST).split() if gate not in passed]:
            raise GateFailedError(
                f"{name}: expected every gate passed, got no verdict of {', '.join(missing)}",
                hint=f"{new_run}, or pathcast models import, asks them all",
            )
        compared = {verdict.gate: verdict.against for verdict in verdicts if verdict.against is not None}
        stale = [f"{gate} with {was or 'none'}" for gate, was in compared.items() if was != (champion or NO_CHAMPION)]
        if stale and version != champion:
            raise GateFailedError(
                f"{name}: expected it compared with the champion, version {champion or 'none'}; got {', '.join(stale)}",
                hint=f"the champion has changed since; {new_run} compares with this one",
            )

    def _require_fit(self, model: str, version: int) -> None:
        if misfit := self.misfit(model, version):
            raise GateFailedError(
                f"model {model} version {version}: {misfit}; what asks it would stop",
                hint=f"{_new_run(model)} makes one that fits",
            )

    def _before(self, model: str, champion: int) -> int | None:
        """Of the versions that served before the champion, the last that nobody has rolled back from."""
        seen, version = {champion}, champion
        while (replaced := self._registry.tags(model, version).get(REPLACED)) and int(replaced) not in seen:
            version = int(replaced)
            if not failed(self.verdicts(model, version)):
                return version
            seen.add(version)
        return None

    def _end_trial(self, model: str) -> None:
        if served := self._repository.served_under(model, challenger_of(model)):
            with self._replicas() as clients:
                take_away(clients, self._repository, served)
        self._registry.drop_alias(model, CHALLENGER)

    @contextmanager
    def _crowning(self, model: str, version: int, champion: int | None) -> Iterator[None]:
        """Serve the version, note in the block what is to be kept of it, and name it champion: all of it or nothing.

        Whatever ends it, Triton goes back to what the registry names; after a kill, which ends it too, `restore` does.
        """
        try:
            self._serve(model, version)
            yield
            self._registry.set_alias(model, CHAMPION, version)
        except BaseException as error:
            named = champion
            # The answer alone may have been lost.
            with suppress(PathcastError):
                named = self._registry.alias(model, CHAMPION)
            if named != version or named == champion:
                outcome = self._go_back(model, champion)
                if isinstance(error, PathcastError):
                    again = f"pathcast models list shows the champion of {model}; then repeat the command"
                    hint = f"{error.hint}; {again}" if error.hint else again
                    raise type(error)(f"model {model}: {error.message}; {outcome}", hint=hint) from error
            if not isinstance(error, PathcastError):
                raise

    def _go_back(self, model: str, champion: int | None) -> str:
        """Serve what served before; how that went."""
        try:
            if champion is None:
                with self._replicas() as clients:
                    take_away(clients, self._repository, self._repository.served_under(model, model), keep=model)
                return "nothing serves, as before"
            self._serve(model, champion)
        except PathcastError as error:
            return f"and Triton does not go back to version {champion}: {error.message}"
        return f"version {champion} serves on"

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


def _misfit(model: str, inputs: list[str], outputs: list[str]) -> str | None:
    signature = SIGNATURES.get(model)
    return None if signature is None else signature.misfit(inputs, outputs)


def _new_run(model: str) -> str:
    return f"pathcast pipeline run train_model --set family={model}"
