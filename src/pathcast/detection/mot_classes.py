"""The classes of a MOT sequence's objects as the platform's.

Numbers are those of MOT16 and later (Milan et al., 2016, arXiv:1603.00831), or lines of `labels.txt`, which CVAT writes
beside `gt.txt` (https://docs.cvat.ai/docs/manual/advanced/formats/format-mot).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, PERSON, ClassOf, class_id_of

OTHER = -1
"""In place of a class that the platform does not have."""

_NUMBERS = {"person": (1, 2, 7), "car": (3,), "bicycle": (4,), "motorcycle": (5,)}
"""Of MOT's people, 2 are on a vehicle and 7 stand; 6 are non-motorised vehicles, 9 to 11 hide what is behind them."""

_NAMES_FILE = "labels.txt"

_LIKE_PEOPLE = (8, 12, 13)
"""Distractors, reflections, crowds."""

_LAST = 13
_CLASSES = np.full(_LAST + 1, OTHER, np.int64)
for _name, _numbers in _NUMBERS.items():
    _CLASSES[list(_numbers)] = CLASS_NAMES.index(_name)
_CLASSES[list(_LIKE_PEOPLE)] = PERSON


@dataclass(frozen=True, slots=True)
class ObjectClasses:
    """Of rows (n,) the platform's class, or OTHER, and which are no people, but look so: they are ignored.

    `others` counts the rows of OTHER by what they are; `labelled` are the platform's classes of which every object is
    labelled: people, or those of the file that names the classes, `source`, if there is one.
    """

    class_ids: Int64Array
    like_people: npt.NDArray[np.bool_]
    others: Mapping[str, int]
    labelled: frozenset[int] = frozenset({PERSON})
    source: str | None = None


def mot16_classes(numbers: Int64Array) -> ObjectClasses:
    """By MOT16's numbers (n,); InvalidInputError for any other."""
    class_ids = _CLASSES[_checked(numbers, _LAST, "MOT16")]
    others = Counter(f"MOT's {number}" for number in numbers[class_ids == OTHER].tolist())
    return ObjectClasses(class_ids, np.isin(numbers, _LIKE_PEOPLE), others)


def object_classes(folder: Path, numbers: Int64Array, class_of: ClassOf = class_id_of) -> ObjectClasses:
    """The classes of `folder`/gt.txt by their `numbers` (n,): lines of `folder`/labels.txt, from 1, or else MOT16's.

    Raises InvalidInputError for a number that is none of these.
    """
    path = folder / _NAMES_FILE
    if not path.is_file():
        return mot16_classes(numbers)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: not a text file: {error}") from error
    known = [class_of(name) for name in names]
    labelled = frozenset(class_id for class_id in known if class_id is not None)
    by_line = np.array([OTHER if class_id is None else class_id for class_id in known], np.int64)
    class_ids = by_line[_checked(numbers, len(names), str(path)) - 1]
    others = Counter(names[number - 1] for number in numbers[class_ids == OTHER].tolist())
    return ObjectClasses(class_ids, np.zeros(len(numbers), np.bool_), others, labelled, path.name)


def _checked(numbers: Int64Array, last: int, source: str) -> Int64Array:
    strange = numbers[(numbers < 1) | (numbers > last)]
    if len(strange):
        raise InvalidInputError(
            f"ground truth: expected classes of {source}, 1 to {last} in column 8, got {strange[0]}"
        )
    return numbers
