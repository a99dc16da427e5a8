"""Where a search looks: for each setting by its name the range or the choices that trials draw from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathcast.core.errors import InvalidInputError

TRACKER = "tracker"
"""Named where a family is named: the tracker's settings are searched like one's, though it learns nothing."""


@dataclass(frozen=True, slots=True)
class Real:
    """A number from `low` to `high`; with `log`, each power of ten counts as much as another."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Any, name: str) -> float:
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: Any, name: str) -> int:
        return int(trial.suggest_int(name, self.low, self.high, log=self.log))

    def holds(self, value: Any) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some plain values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def holds(self, value: Any) -> bool:
        return value in self.values


Range = Real | Whole | Choice
Space = Mapping[str, Range]

TRAINING: Space = {
    "learning_rate": Real(3e-4, 3e-2, log=True),
    "weight_decay": Real(1e-4, 1e-1, log=True),
    "warmup": Real(0.0, 0.2),
    "ema": Real(0.9, 0.9995),
}
"""Settings that every family's training has."""


def without(space: Space, fixed: Mapping[str, Any]) -> Space:
    """The space but for what is fixed; InvalidInputError where nothing is left to search."""
    left = {name: place for name, place in space.items() if name not in fixed}
    if not left:
        raise InvalidInputError(f"expected a setting to search, got all of {', '.join(sorted(space))} fixed")
    return left


def suggest(space: Space, trial: Any) -> dict[str, Any]:
    """A value for each setting, drawn by an Optuna trial."""
    return {name: place.suggest(trial, name) for name, place in space.items()}


def starting_point(space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the space as they are now, as far as they lie in it."""
    return {name: settings[name] for name, place in space.items() if name in settings and place.holds(settings[name])}
