"""The last step of a run: a champion serves, nothing is left on trial, and people know what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pathcast.core.clock import SystemClock
from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings, from_environment
from pathcast.monitoring.alerts import deliver
from pathcast.monitoring.outbox import OWED_FOR, Message, owe
from pathcast.monitoring.settings import MonitorSettings
from pathcast.registry.publishing import ModelLifecycle
from pathcast.storage.connection import connect
from pathcast.training.champion import keep_serving
from pathcast.training.drift import end_training, tell
from pathcast.training.family import find_family
from pathcast.training.run_messages import failure_message, refusal_message

News = tuple[Message, Callable[[], None]]
"""A message, and what notes in the registry that it is taken care of."""


def finish(settings: PlatformSettings, family: str, name: str, failure: str | None, *, run: str) -> int | None:
    """Leave a serving champion and none of the run's trials behind, whatever happened; the champion's version.

    A `failure` is kept in the registry with the run's `name`; `run` is the id by which it may have claimed a training
    and tried a version. Afterwards people are told of it, of versions that gates have refused, and of a champion that
    did not serve, with what they can do. What cannot be delivered is owed still. Raises what kept the champion from
    being restored or the trial from being ended.
    """
    model, lifecycle = find_family(family).name, ModelLifecycle(settings)
    champion, left_undone = None, None
    try:
        # First what must hold: a trial that cannot be ended keeps nobody from being served.
        keep_serving(settings, model)
        champion = lifecycle.restore(model)
        lifecycle.withdraw_challenger(model, run=run)
    except PathcastError as error:
        left_undone = error
        with _printed("that the champion was not restored is not noted"):
            lifecycle.note_failure(
                model, "roll_back", f"the champion may not serve, or a trial goes on: {error}", run=run
            )
    if failure:
        with _printed("that the run failed is not noted"):
            lifecycle.note_failure(model, name, failure, run=run)
    with _printed("the end of this run is not noted"):
        end_training(settings, model, run, succeeded=failure is None)
    with _printed("nobody was told"):
        _tell(settings, lifecycle, model, name, failure)
    if left_undone is not None:
        raise left_undone
    return champion


def _tell(settings: PlatformSettings, lifecycle: ModelLifecycle, model: str, name: str, failure: str | None) -> None:
    """Keep what people are to know and then send what is owed; without the database it is told now, or by the next."""
    for message, noted in _news(lifecycle, model, name, failure):
        try:
            with connect(settings.database_url, application_name="alerts") as connection:
                owe(connection, model, message)
        except PathcastError as error:
            print(f"a message is not kept: {error}")
            undelivered = deliver(message, from_environment(MonitorSettings))
            if undelivered:
                print(f"nor delivered: {'; '.join(undelivered)}")
                continue
        with _printed("that people are told is not noted"):
            noted()
    if (undelivered_error := tell(settings, model, from_environment(MonitorSettings))) is not None:
        print(f"not delivered, and owed still: {undelivered_error}")


def _news(lifecycle: ModelLifecycle, model: str, name: str, failure: str | None) -> list[News]:
    since = SystemClock().now() - OWED_FOR
    try:
        champion = lifecycle.champion(model)
        failures = lifecycle.untold_failures(model, since)
        refusals = lifecycle.untold_refusals(model, since)
    except PathcastError as error:
        reason = f"{failure or 'ended'}; the registry does not answer: {error}"
        return [(failure_message(model, [(name, reason)], None, champion_known=False), lambda: None)]
    # What a step says is more than that the run failed.
    failed = [(each.name, each.reason) for each in failures if each.name != name]
    failed += [(each.name, each.reason) for each in failures if each.name == name]
    news: list[News] = []
    for version, verdicts in refusals:
        message = refusal_message(model, version, verdicts, champion, failed if version == refusals[0][0] else ())
        news.append((message, partial(lifecycle.refusal_told, model, version)))
    if failed and not refusals:
        news.append((failure_message(model, failed, champion), lambda: None))
    if failed:
        message, noted = news[0]

        def all_noted() -> None:
            noted()
            lifecycle.failures_told(failures)

        news[0] = (message, all_noted)
    return news


@contextmanager
def _printed(what: str) -> Iterator[None]:
    try:
        yield
    except PathcastError as error:
        print(f"{what}: {error}")
