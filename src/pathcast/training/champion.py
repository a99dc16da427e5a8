"""The registry's champion is what Triton serves: whoever finds that it is not puts it right, and tells."""

from __future__ import annotations

from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.monitoring.outbox import owe
from pathcast.registry.publishing import ModelLifecycle
from pathcast.storage.connection import connect
from pathcast.training.run_messages import astray_message


def keep_serving(settings: PlatformSettings, model: str) -> None:
    """Compare what Triton serves with the registry's champion; where they differ put it right, and owe people a word.

    Asks the registry and Triton alone, and the model repository only where there is something to put right. Raises
    what kept it from comparing, or from putting it right, which people are owed a word of as well.
    """
    lifecycle = ModelLifecycle(settings)
    difference = lifecycle.astray(model)
    if difference is None:
        return
    problem: PathcastError | None = None
    try:
        lifecycle.restore(model)
    except PathcastError as error:
        problem = error
    with connect(settings.database_url, application_name="alerts") as connection:
        owe(connection, model, astray_message(model, difference, lifecycle.champion(model), problem))
    if problem is not None:
        raise problem
