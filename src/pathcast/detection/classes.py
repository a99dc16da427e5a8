"""The object classes of the platform's detector."""

from __future__ import annotations

from types import MappingProxyType

CLASS_NAMES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
"""Class ids as served are the positions in this tuple."""

COCO_CLASS_IDS = (0, 1, 2, 3, 5, 7)
"""For each class, its id among COCO's 80 contiguous classes (the order of YOLO label files without names)."""

_OTHER_NAMES = MappingProxyType({"motorbike": "motorcycle"})
"""What Pascal VOC and darknet call one of the platform's classes."""

PERSON = CLASS_NAMES.index("person")


def class_id_of(name: str) -> int | None:
    """The platform's class of that name, in whatever case; None where it has none.

    >>> class_id_of("Motorbike"), class_id_of("dog")
    (3, None)
    """
    plain = name.strip().lower()
    known = _OTHER_NAMES.get(plain, plain)
    return CLASS_NAMES.index(known) if known in CLASS_NAMES else None
