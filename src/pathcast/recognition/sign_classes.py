"""The 43 traffic signs of the German benchmark (GTSRB), and which sign each is in a mirror.

Stallkamp et al., Man vs. computer, Neural Networks 32, 2012.
"""

from __future__ import annotations

from collections.abc import Mapping

CLASS_NAMES: tuple[str, ...] = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no overtaking",
    "no overtaking by lorries",
    "priority at the next crossing",
    "priority road",
    "give way",
    "stop",
    "no vehicles",
    "no lorries",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "bicycles",
    "snow or ice",
    "wild animals",
    "end of all limits",
    "turn right",
    "turn left",
    "ahead only",
    "ahead or right",
    "ahead or left",
    "pass on the right",
    "pass on the left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by lorries",
)
"""By the benchmark's own class number."""

_SYMMETRIC = (11, 12, 13, 15, 17, 18, 22, 26, 30, 35)
_PAIRS = ((19, 20), (33, 34), (36, 37), (38, 39))

MIRRORED: Mapping[int, int] = {
    **{number: number for number in _SYMMETRIC},
    **dict(_PAIRS),
    **{right: left for left, right in _PAIRS},
}
"""Class → class of the picture flipped left to right; a class that is missing has no meaning in a mirror."""
