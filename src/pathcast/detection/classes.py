"""The object classes of the platform's detector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from pathcast.core.errors import InvalidInputError

CLASS_NAMES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
"""Class ids as served are the positions in this tuple."""

COCO_CLASS_IDS = (0, 1, 2, 3, 5, 7)
"""For each class, its id among COCO's 80 contiguous classes (the order of YOLO label files without names)."""

_OTHER_NAMES = MappingProxyType({"motorbike": "motorcycle"})
"""What Pascal VOC and darknet call one of the platform's classes."""

ClassOf = Callable[[str], int | None]
"""The platform's class of a label's name; None where it has none."""

PERSON = CLASS_NAMES.index("person")


def class_id_of(name: str, other_names: Mapping[str, str] = _OTHER_NAMES) -> int | None:
    """The platform's class of that name, or of one of the `other_names`, in whatever case; None where it has none.

    >>> class_id_of("Motorbike"), class_id_of("dog")
    (3, None)
    """
    plain = name.strip().lower()
    known = other_names.get(plain, plain)
    return CLASS_NAMES.index(known) if known in CLASS_NAMES else None


def class_ids_with(names: Any) -> ClassOf:
    """`class_id_of` that also knows the platform's classes by `names`, from a label's name to the platform's.

    `names` are as somebody gave them; raises InvalidInputError where they are no such mapping, or the platform has no
    such class.

    >>> class_ids_with({"Pedestrian": "person"})("pedestrian")
    0
    """
    if not isinstance(names, Mapping):
        raise InvalidInputError(
            f"classes: expected names by name, got {names!r}",
            hint='give JSON, in quotes: \'{"pedestrian": "person"}\'',
        )
    for name, known in names.items():
        if known not in CLASS_NAMES:
            raise InvalidInputError(f"classes: {name}: expected one of {', '.join(CLASS_NAMES)}, got {known!r}")
    given = {name.strip().lower(): known for name, known in names.items()}
    return partial(class_id_of, other_names={**_OTHER_NAMES, **given})
