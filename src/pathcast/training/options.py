"""Options and settings that people give by name, checked against their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

from pathcast.core.errors import InvalidInputError


def check_values(what: str, given: Mapping[str, Any], defaults: Mapping[str, Any], kind: str = "option") -> None:
    """Raise InvalidInputError where a name has no default, or a value is not of its default's kind.

    Kinds are whole numbers, numbers, and true or false; values of others are for whoever takes them.

    >>> check_values("signs", {"val": 0, "seed": 3}, {"val": 0.1, "seed": 1})
    """
    unknown = sorted(given.keys() - defaults.keys())
    if unknown:
        raise InvalidInputError(
            f"{what}: no {kind} {', '.join(unknown)}; expected one of {', '.join(sorted(defaults))}"
        )
    for name, value in given.items():
        default = defaults[name]
        if isinstance(default, bool):
            fits, expected = isinstance(value, bool), "true or false"
        elif isinstance(default, Real):
            fits, expected = isinstance(value, Real) and not isinstance(value, bool), "a number"
            if isinstance(default, int):
                fits, expected = fits and isinstance(value, int), "a whole number"
        else:
            continue
        if not fits:
            raise InvalidInputError(f"{what}: {kind} {name}: expected {expected}, got {value!r}")
