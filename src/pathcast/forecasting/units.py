"""The unit that the forecaster works in, whatever a camera measures in."""

from __future__ import annotations

from pathcast.core.trajectory import FRAME_HEIGHTS, METRES, check_units

_METRES = {METRES: 1.0, FRAME_HEIGHTS: 20.0}
"""What a frame height typically stands for: the median step of the walks of PETS09-S2L1 is .396 m on the ground and
.0199 frame heights in the picture. So positions of a camera without calibration come in the lengths that the
network has learned from (docs/benchmarks.md has what that gains)."""


def metres_per(units: str) -> float:
    """How many metres one of `units` is taken for.

    Positions are multiplied by it before the network, and its paths divided by it.

    >>> metres_per("frame_heights")
    20.0
    """
    return _METRES[check_units(units)]
