"""The object classes of the platform's detector."""

from __future__ import annotations

from types import MappingProxyType

CLASS_NAMES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
"""Class ids as served are the positions in this tuple."""

COCO_CLASS_IDS = (0, 1, 2, 3, 5, 7)
"""For each class, its id among COCO's 80 contiguous classes (the order of YOLO label files)."""

CLASS_ID_OF_COCO = MappingProxyType({coco_id: class_id for class_id, coco_id in enumerate(COCO_CLASS_IDS)})
"""From COCO's 80 contiguous ids to the platform's; ids of other classes are absent."""

PERSON = CLASS_NAMES.index("person")
