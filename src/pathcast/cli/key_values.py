"""How options give values: KEY=VALUE, a value in JSON or as plain text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pathcast.core.errors import InvalidInputError


def pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts; for the values see `value_of`."""
    pairs: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise InvalidInputError(f"{option} {text}: expected KEY=VALUE")
        pairs[name.replace("-", "_")] = value_of(value)
    return pairs


def value_of(text: str) -> Any:
    """JSON (a number, true, null, a list) or else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
