"""Which version Triton serves: put in the place of the one before, in every replica, and taken away again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pathcast.core.errors import GateFailedError, PathcastError
from pathcast.registry.repository import ModelRepository
from pathcast.serving.triton_client import TritonClient

# Triton takes a folder for unchanged whose newest time, in whole seconds, is the one it loaded; then the
# config is written again, in a later second.
_RELOADS = 2
_CLOCK_STEP_S = 1.1


def serve_version(
    clients: Sequence[TritonClient],
    repository: ModelRepository,
    model: str,
    version: int,
    *,
    under: str | None = None,
) -> None:
    """Make every Triton serve a stored version, with all of its parts, while the one before answers.

    Triton has one signature for all versions of a model, so a part of another signature cannot stand beside the one
    that the live ensemble joins. The ensemble then goes over parts with names aside: to them, the parts' own names
    take up the new version, and back. Raises GateFailedError where one does not serve, PathcastError where it refuses
    to load.
    """
    if repository.changes_a_part(model, version, under=under):
        _switch(clients, repository, model, version, under or model, aside=True)
    _switch(clients, repository, model, version, under or model, aside=False)


def take_away(
    clients: Sequence[TritonClient], repository: ModelRepository, served: Sequence[str], *, keep: str = ""
) -> None:
    """Unload models, given an ensemble before its parts, and delete them in that order; repeating it goes on.

    So none that is there ever names a part that is not. Of `keep` the stored versions stay.
    """
    for name in served:
        for client in clients:
            client.unload(name)
    for name in served:
        if name == keep:
            repository.withhold(name)
        else:
            repository.remove(name)


def _switch(
    clients: Sequence[TritonClient],
    repository: ModelRepository,
    model: str,
    version: int,
    served: str,
    *,
    aside: bool,
) -> None:
    before = repository.parts(served) if served in repository.models() else []
    absent: list[str] = []
    for attempt in range(1 + _RELOADS):
        if attempt:
            time.sleep(_CLOCK_STEP_S)
        try:
            *parts, _ = repository.serve(model, version, under=served, aside=aside)
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
        absent = [each.address for each in clients if not serves(each, served, version)]
        if not absent:
            repository.settle(parts, version)
            _load(clients, parts)
            take_away(clients, repository, [name for name in before if name not in parts])
            return
    raise GateFailedError(
        f"model {served}: version {version} is published, but Triton at {', '.join(absent)} does not serve it",
        hint="see Triton's log: pathcast logs triton",
    )


def _load(clients: Sequence[TritonClient], names: Sequence[str]) -> None:
    for name in names:
        for client in clients:
            client.load(name)


def serves(client: TritonClient, served: str, version: int) -> bool:
    """Whether that Triton has the version loaded under the name, and it answers, with no error of its own."""
    try:
        return client.ready(served, str(version)) and client.canary(served)
    except PathcastError:
        return False
