"""What a step of a pipeline does beside its work: a failure's reason is kept where people look for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from pathcast.core.errors import PathcastError
from pathcast.core.settings import load_settings
from pathcast.registry.publishing import ModelLifecycle
from pathcast.training.family import find_family

RUN = "PATHCAST_RUN"
"""The variable with the run's id, on a cluster, where a step may be tried more than once."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def step(work: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A step of a pipeline: what ends it is kept in the registry, under the step's name, before the run ends.

    Kubeflow tells the last step only which one failed. Of a step that is tried again the last try counts. `work` has
    a parameter `family`.
    """

    @wraps(work)
    def kept(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        given, run = signature(work).bind(*arguments, **named).arguments, os.environ.get(RUN, "")

        def registry() -> tuple[ModelLifecycle, str]:
            return ModelLifecycle(given.get("settings") or load_settings()), find_family(given["family"]).name

        # Where the registry is what failed, the step's own log has to do.
        if run:
            with suppress(PathcastError):
                lifecycle, model = registry()
                lifecycle.forget_failure(model, work.__name__, run=run)
        try:
            return work(*arguments, **named)
        except Exception as error:
            with suppress(PathcastError):
                lifecycle, model = registry()
                lifecycle.note_failure(model, work.__name__, str(error), run=run)
            raise

    return kept


def whole_numbers(value: Any) -> Any:
    """A pipeline's parameter with its whole numbers as such: Kubeflow hands on a 3 in a mapping or list as 3.0.

    >>> whole_numbers({"epochs": 3.0, "blocks": [1.0, 2.0], "rate": 0.5, "name": "x"})
    {'epochs': 3, 'blocks': [1, 2], 'rate': 0.5, 'name': 'x'}
    """
    if isinstance(value, Mapping):
        return {name: whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
