"""What the gates said of a model version, kept as tags of the version in the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

SMOKE_TEST, REPLAY = "smoke_test", "replay"
IN_SERVICE = "in_service"
"""No gate before a promotion: people have rolled back from the version."""
NO_CHAMPION = 0

_PREFIX = "gate."
_LONGEST_TAG = 5000
"""MLflow's limit for a tag's value, in characters."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a gate let a version pass, why, and the figures it went by.

    `against` is the version that it was compared with, NO_CHAMPION where there was none to beat; a gate that compares
    with no champion leaves it out.
    """

    gate: str
    passed: bool
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    against: int | None = None


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict as a tag; a reason that is too long loses its end.

    >>> verdict_tags(Verdict("parity", True, "equal", {"largest": 0.5}))
    {'gate.parity': '{"passed":true,"reason":"equal","numbers":{"largest":0.5}}'}
    """
    kept = {"passed": verdict.passed, "reason": verdict.reason[: _LONGEST_TAG // 2], "numbers": dict(verdict.numbers)}
    if verdict.against is not None:
        kept["against"] = verdict.against
    return {f"{_PREFIX}{verdict.gate}": msgspec.json.encode(kept).decode()}


def read_verdicts(tags: Mapping[str, str]) -> list[Verdict]:
    """The verdicts among a version's tags, by name."""
    return [
        Verdict(name.removeprefix(_PREFIX), **msgspec.json.decode(value, type=dict))
        for name, value in sorted(tags.items())
        if name.startswith(_PREFIX)
    ]


def failed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those that did not let it pass."""
    return [verdict for verdict in verdicts if not verdict.passed]
