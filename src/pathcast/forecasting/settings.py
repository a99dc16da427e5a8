"""The forecaster's size, as configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from pathcast.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class ForecasterSettings:
    """What must be known to build the network; stored beside its weights.

    `modes` paths per window; `units` of each LSTM, and of each of the two layers of the perceptron that gives the
    best guess; `neighbour_units` of each of the two layers through which that sees each neighbour; `dropout` on what
    passes between encoder and decoder, and after each of the perceptron's layers.
    `smallest_scale` is added, in squares, to a window's own speed (its root mean square displacement per
    step) to form the length that the window is divided by, so that fast and slow walkers look alike and a
    person who stands still is not blown up; in metres.
    """

    modes: int = 20
    units: int = 48
    dropout: float = 0.1
    smallest_scale: float = 0.05
    neighbour_units: int = 32

    def __post_init__(self) -> None:
        if self.modes < 2 or min(self.units, self.neighbour_units) < 1:
            raise InvalidInputError(f"forecaster: expected 2 modes or more and 1 unit or more, got {self}")
        if not 0 <= self.dropout < 1 or self.smallest_scale <= 0:
            raise InvalidInputError(f"forecaster: expected dropout in [0, 1) and a positive smallest_scale, got {self}")

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """The inverse of `as_mapping`; an unknown or missing name is an InvalidInputError."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InvalidInputError(f"forecaster settings: expected {sorted(names)}, got {sorted(values)}")
        return cls(**values)
