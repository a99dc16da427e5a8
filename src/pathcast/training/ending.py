"""The last step of a run: a champion serves, nothing is left on trial, and people know what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from pathcast.core.clock import SystemClock
from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings, from_environment
from pathcast.monitoring.alerts import Message, deliver
from pathcast.monitoring.settings import MonitorSettings
from pathcast.registry.publishing import ModelLifecycle
from pathcast.training.drift import end_training
from pathcast.training.family import find_family
from pathcast.training.run_messages import failure_message, refusal_message

OWED_FOR = timedelta(days=7)
"""What nobody could be told of for so long is no news."""

Owed = tuple[Message, Callable[[], None]]
"""A message, and what notes that it has arrived."""


def finish(settings: PlatformSettings, family: str, name: str, failure: str | None, *, run: str) -> int | None:
    """Leave a serving champion and no challenger behind, whatever happened; return the champion's version.

    A `failure` is kept in the registry with the run's `name`; `run` is the id by which it may have claimed a training.
    Afterwards people are told of it, of versions that gates have refused, and of a champion that could not be made to
    serve, with what they can do. What cannot be delivered is printed, changes nothing else, and is sent again at the
    end of the family's next run. Raises what kept the champion from being restored or the trial from being ended.
    """
    model, lifecycle = find_family(family).name, ModelLifecycle(settings)
    champion, left_undone = None, None
    try:
        # First what must hold: a trial that cannot be ended keeps nobody from being served.
        champion = lifecycle.restore(model)
        lifecycle.withdraw_challenger(model)
    except PathcastError as error:
        left_undone = error
        with _printed("that the champion was not restored is not noted"):
            lifecycle.note_failure(model, "roll_back", f"the champion may not serve, or a trial goes on: {error}")
    with _printed("the end of this run is not noted"):
        end_training(settings, model, run, succeeded=failure is None)
    with _printed("nobody was told"):
        _tell(lifecycle, model, name, failure)
    if left_undone is not None:
        raise left_undone
    return champion


def _tell(lifecycle: ModelLifecycle, model: str, name: str, failure: str | None) -> None:
    for message, arrived in _owed(lifecycle, model, name, failure):
        undelivered = deliver(message, from_environment(MonitorSettings))
        for each in undelivered:
            print(f"not delivered, and owed still: {each}")
        if not undelivered:
            with _printed("that people were told is not noted"):
                arrived()


def _owed(lifecycle: ModelLifecycle, model: str, name: str, failure: str | None) -> list[Owed]:
    try:
        champion = lifecycle.champion(model)
        if failure:
            lifecycle.note_failure(model, name, failure)
        failures = lifecycle.untold_failures(model, SystemClock().now() - OWED_FOR)
        refusals = lifecycle.untold_refusals(model)
    except PathcastError as error:
        reason = f"{failure or 'ended'}; the registry does not answer: {error}"
        return [(failure_message(model, [(name, reason)], None), lambda: None)]
    # What a step says is more than that the run failed.
    failed = [(each.name, each.reason) for each in failures if each.name != name]
    failed += [(each.name, each.reason) for each in failures if each.name == name]
    owed: list[Owed] = []
    for version, verdicts in refusals:
        message = refusal_message(model, version, verdicts, champion, failed if version == refusals[0][0] else ())
        owed.append((message, lambda version=version: lifecycle.refusal_told(model, version)))  # type: ignore[misc]
    if failed and not refusals:
        owed.append((failure_message(model, failed, champion), lambda: None))
    if failed:
        message, arrived = owed[0]

        def all_arrived() -> None:
            arrived()
            lifecycle.failures_told(failures)

        owed[0] = (message, all_arrived)
    return owed


@contextmanager
def _printed(what: str) -> Iterator[None]:
    try:
        yield
    except PathcastError as error:
        print(f"{what}: {error}")
