"""Pascal VOC labels: `JPEGImages/a.jpg` beside `Annotations/a.xml`.

Everingham et al., The PASCAL Visual Object Classes Challenge 2012, development kit: pixels count from 1 and both
corners belong to the box, so the left edge of a box in pixels is xmin - 1 and its right edge xmax. `difficult` marks a
box that counts neither way.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, ClassOf, class_id_of
from pathcast.detection.labelled import (
    BAD_LABELS,
    Fault,
    LabelledImage,
    LabelledImages,
    OnFault,
    one_file_each,
    other_classes,
    refuse,
)

IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"


def read_voc(directory: Path, fault: OnFault = refuse, class_of: ClassOf = class_id_of) -> LabelledImages:
    """Labels of the platform's classes, others counted; faults are files and objects that are no labels."""
    paths = sorted((directory / ANNOTATIONS).rglob("*.xml"))
    if not paths:
        raise InvalidInputError(f"{directory}: expected labels Annotations/*.xml, found none")
    others = Counter[str]()
    found = [_read(directory, path, class_of, others, fault) for path in paths]
    return LabelledImages(directory, tuple(image for image in found if image is not None), about=other_classes(others))


def write_voc(directory: Path, labelled: LabelledImages) -> None:
    """Write one XML file an image, in the same folder below Annotations as the image is in below JPEGImages."""
    targets = {image.name: _labels_of(directory, image.name) for image in labelled}
    one_file_each(targets)
    for image in labelled:
        root = ElementTree.Element("annotation")
        _add(root, "folder", IMAGES)
        _add(root, "filename", Path(image.name).relative_to(IMAGES).as_posix())
        size = _add(root, "size")
        for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
            _add(size, key, str(value))
        for (x1, y1, x2, y2), class_id, ignored in zip(
            image.xyxy.tolist(), image.class_ids.tolist(), image.ignored.tolist(), strict=True
        ):
            entry = _add(root, "object")
            _add(entry, "name", CLASS_NAMES[class_id])
            _add(entry, "difficult", str(int(ignored)))
            box = _add(entry, "bndbox")
            for key, edge in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
                _add(box, key, f"{edge:.10g}")
        ElementTree.indent(root)
        targets[image.name].parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(root).write(targets[image.name], encoding="utf-8")


def _read(directory: Path, path: Path, class_of: ClassOf, others: Counter[str], fault: OnFault) -> LabelledImage | None:
    own = path.relative_to(directory).as_posix()
    try:
        # Labels are the user's own files; entities are not expanded from outside by this parser.
        root = ElementTree.parse(path).getroot()  # noqa: S314
        name = _image_of(directory, path, _text(root, "filename"))
        size = int(_text(root, "size/width")), int(_text(root, "size/height"))
        image = LabelledImage(name, *size, camera=directory.name)
    except (ElementTree.ParseError, LookupError, OSError, ValueError, InvalidInputError) as error:
        fault(Fault(own, BAD_LABELS, f"not Pascal VOC labels: {error}"))
        return None
    boxes, class_ids, ignored = [], [], []
    for number, entry in enumerate(root.findall("object"), start=1):
        try:
            kind = _text(entry, "name")
            class_id = class_of(kind)
            if class_id is None:
                others[kind] += 1
                continue
            edges = [float(_text(entry, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
        except ValueError as error:
            fault(Fault(image.name, BAD_LABELS, f"{own} object {number}: {error}"))
            continue
        boxes.append([edges[0] - 1, edges[1] - 1, edges[2], edges[3]])
        class_ids.append(class_id)
        ignored.append(entry.findtext("difficult", "0").strip() == "1")
    return image.changed(xyxy=boxes, class_ids=class_ids, ignored=ignored, track_ids=None, scores=None)


def _image_of(directory: Path, labels: Path, filename: str) -> str:
    """The image's name below `directory`: some tools write its folder into `filename`, some leave it to the label's."""
    below = labels.relative_to(directory / ANNOTATIONS).parent
    given = Path(IMAGES, filename)
    beside = Path(IMAGES, below, Path(filename).name)
    return (given if (directory / given).is_file() else beside).as_posix()


def _labels_of(directory: Path, name: str) -> Path:
    return directory / ANNOTATIONS / Path(name).relative_to(IMAGES).with_suffix(".xml")


def _text(element: ElementTree.Element, key: str) -> str:
    found = element.findtext(key)
    if found is None:
        raise ValueError(f"{key} is missing")
    return found.strip()


def _add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text
    return child
