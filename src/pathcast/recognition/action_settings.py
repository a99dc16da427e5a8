"""Sizes of the action networks and how they learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pathcast.core.errors import InvalidInputError

FRAMES, SCORES, PROBABILITIES = "frames", "frame_scores", "probabilities"
"""Names of the served tensors: clips in, how much each frame has to say, and the actions out."""


@dataclass(frozen=True, slots=True)
class ActionSettings:
    """One pair of frame selector and recogniser.

    Clips have `frames` frames of `size` x `size` pixels, of which `selected` go to the recogniser, enlarged to
    `input_size`. The selector looks at `glance` x `glance` pixels; its layers have `units`, and what they learn decides
    on the share `learned` of a frame's score. `word_vectors`: one for each class, or none.
    """

    classes: tuple[str, ...]
    frames: int = 20
    size: int = 112
    selected: int = 6
    glance: int = 56
    units: int = 32
    learned: float = 0.2
    input_size: int = 160
    dropout: float = 0.5
    word_vectors: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise InvalidInputError(f"actions: expected two different classes or more, got {list(self.classes)}")
        object.__setattr__(self, "word_vectors", tuple(tuple(vector) for vector in self.word_vectors))
        if len(self.word_vectors) not in (0, len(self.classes)) or len(set(map(len, self.word_vectors))) > 1:
            raise InvalidInputError(
                f"actions: expected a word vector of one length for each of {len(self.classes)} classes, "
                f"got {len(self.word_vectors)}"
            )
        if not 2 <= self.selected <= self.frames:
            raise InvalidInputError(f"actions: expected selected of 2 to {self.frames}, got {self.selected}")
        if not 0 <= self.learned <= 1:
            raise InvalidInputError(f"actions: expected learned of 0 to 1, got {self.learned}")
        if self.size % self.glance or self.glance < 8 or self.input_size < 32 or self.input_size % 32:
            raise InvalidInputError(
                f"actions: expected a size that is a multiple of glance (8 or more) and an input_size that is one of "
                f"32, got {self.size}, {self.glance} and {self.input_size}"
            )

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "classes": list(self.classes), "word_vectors": list(map(list, self.word_vectors))}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ActionSettings:
        """Raises InvalidInputError where `values` are not those of an action network."""
        try:
            return cls(**values)
        except TypeError as error:
            raise InvalidInputError(f"action settings: {error}") from error
