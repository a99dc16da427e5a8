"""The classes of MOT16 and later (Milan et al., 2016, arXiv:1603.00831) as the platform's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, PERSON

OTHER = -1
"""In place of a class that the platform does not have."""

_NUMBERS = {"person": (1, 2, 7), "car": (3,), "bicycle": (4,), "motorcycle": (5,)}
"""Of MOT's people, 2 are on a vehicle and 7 stand; 6 are non-motorised vehicles, 9 to 11 hide what is behind them."""

_LIKE_PEOPLE = (8, 12, 13)
"""Distractors, reflections, crowds."""

_LAST = 13
_CLASSES = np.full(_LAST + 1, OTHER, np.int64)
for _name, _numbers in _NUMBERS.items():
    _CLASSES[list(_numbers)] = CLASS_NAMES.index(_name)
_CLASSES[list(_LIKE_PEOPLE)] = PERSON


def platform_classes(numbers: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """For MOT's class numbers (n,) the platform's, or OTHER; and which are no people, but look so: they are ignored."""
    strange = numbers[(numbers < 1) | (numbers > _LAST)]
    if len(strange):
        raise InvalidInputError(f"ground truth: expected classes of MOT16, 1 to {_LAST} in column 8, got {strange[0]}")
    return _CLASSES[numbers], np.isin(numbers, _LIKE_PEOPLE)
