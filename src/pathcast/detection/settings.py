"""Sizes of the detector's network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES

STRIDES = (8, 16, 32)
"""Pixels per cell of the three output grids."""

TOP_K = 300
"""Cells before suppression, several of them per object; on COCO images 100 cost two points of AP50, more gain none."""

ACTIVATIONS = ("relu", "silu")


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """One network.

    `width` and `depth` scale the channels and the blocks of the large YOLOX; `depthwise` splits every 3x3
    convolution into one per channel and one across channels. `normalised`: batch normalisation after every
    convolution (to train from scratch), else a bias. `embedding`: length of the appearance vector, 0 for none.
    """

    width: float = 0.25
    depth: float = 0.33
    depthwise: bool = True
    activation: str = "silu"
    normalised: bool = True
    input_width: int = 416
    input_height: int = 416
    embedding: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.width <= 2 and 0 < self.depth <= 2):
            raise InvalidInputError(f"detector: expected width and depth in (0, 2], got {self.width}, {self.depth}")
        if min(self.input_width, self.input_height) < 1 or self.input_width % 32 or self.input_height % 32:
            raise InvalidInputError(
                f"detector: expected an input of multiples of 32 pixels, got {self.input_width}x{self.input_height}"
            )
        if self.activation not in ACTIVATIONS or self.embedding < 0:
            raise InvalidInputError(
                f"detector: expected an activation of {', '.join(ACTIVATIONS)} and an embedding of 0 or more, "
                f"got {self.activation!r} and {self.embedding}"
            )

    @property
    def classes(self) -> int:
        return len(CLASS_NAMES)

    @property
    def cells(self) -> int:
        """The number of candidate boxes."""
        return sum((self.input_width // stride) * (self.input_height // stride) for stride in STRIDES)

    def channels(self, full: int) -> int:
        """Channels of a layer that has `full` of them in the large network; whole groups of 8 run fast."""
        return max(8, int(full * self.width))

    def blocks(self, full: int) -> int:
        return max(1, round(full * self.depth))

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> DetectorSettings:
        """Raises InvalidInputError where `values` are not those of a detector."""
        try:
            return cls(**values)
        except TypeError as error:
            raise InvalidInputError(f"detector settings: {error}") from error


SIZES: Mapping[str, DetectorSettings] = MappingProxyType(
    {
        "nano": DetectorSettings(0.25, 0.33, depthwise=True),
        "tiny": DetectorSettings(0.375, 0.33, depthwise=False),
        "small": DetectorSettings(0.5, 0.33, depthwise=False, input_width=640, input_height=640),
        "medium": DetectorSettings(0.75, 0.67, depthwise=False, input_width=640, input_height=640),
        "large": DetectorSettings(1.0, 1.0, depthwise=False, input_width=640, input_height=640),
        "xlarge": DetectorSettings(1.25, 1.33, depthwise=False, input_width=640, input_height=640),
    }
)
"""YOLOX's own sizes: its nano, tiny, s, m, l and x."""
