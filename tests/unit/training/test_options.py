from __future__ import annotations

from typing import Any

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.training.options import check_values

DEFAULTS = {"val": 0.1, "seed": 1, "window": True, "held_out": (), "loss": None}


@pytest.mark.parametrize(
    "given",
    [{}, {"val": 1}, {"val": 0.5, "seed": 7}, {"window": False}, {"held_out": "hall"}, {"loss": 3}],
)
def test_what_is_like_its_default_is_taken(given: dict[str, Any]) -> None:
    check_values("signs", given, DEFAULTS)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"speed": 1, "val": 2}, "signs: no option speed; expected one of held_out, loss, seed, val, window"),
        ({"val": "abc"}, "signs: option val: expected a number, got 'abc'"),
        ({"val": True}, "val: expected a number, got True"),
        ({"val": None}, "val: expected a number, got None"),
        ({"seed": 7.0}, "seed: expected a whole number, got 7.0"),
        ({"seed": 1.5}, "seed: expected a whole number, got 1.5"),
        ({"seed": [1]}, "seed: expected a whole number"),
        ({"seed": float("nan")}, "seed: expected a whole number"),
        ({"window": 1}, "window: expected true or false, got 1"),
    ],
)
def test_what_is_not_is_named(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        check_values("signs", given, DEFAULTS)
