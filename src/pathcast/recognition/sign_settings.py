"""The sign classifier's size, as configuration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from pathcast.core.errors import InvalidInputError

SIDE = 48
"""Pixels of the square input."""


@dataclass(frozen=True, slots=True)
class SignSettings:
    """What must be known to build the network; stored beside its weights.

    `channels` of the first stage, doubled by each further one; `blocks` residual blocks in each; `dropout` before the
    last layer; `window` puts a spatial transformer first, which moves and scales the sign to the middle.
    """

    channels: int = 32
    blocks: tuple[int, ...] = (1, 1, 1)
    dropout: float = 0.3
    window: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if self.channels < 1 or not 1 <= len(self.blocks) <= 4 or min(self.blocks) < 1 or not 0 <= self.dropout < 1:
            raise InvalidInputError(
                f"signs: expected channels of 1 or more, 1 to 4 stages of 1 block or more and dropout in [0, 1), got "
                f"{self}"
            )

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "blocks": list(self.blocks)}

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """The inverse of `as_mapping`; an unknown or missing name is an InvalidInputError."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InvalidInputError(f"sign settings: expected {sorted(names)}, got {sorted(values)}")
        return cls(**values)
