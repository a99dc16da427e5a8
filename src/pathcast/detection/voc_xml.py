"""Pascal VOC labels: `JPEGImages/a.jpg` beside `Annotations/a.xml`.

Everingham et al., The PASCAL Visual Object Classes Challenge 2012, development kit: pixels count from 1 and both
corners belong to the box, so the left edge of a box in pixels is xmin - 1 and its right edge xmax. `difficult` marks a
box that counts neither way.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import LabelledImage, LabelledImages

_OTHER_NAMES = {"motorbike": "motorcycle"}


def read_voc(directory: Path) -> LabelledImages:
    """All labels of the platform's classes; raises InvalidInputError naming a file that is none."""
    found = [_read(path) for path in sorted((directory / "Annotations").glob("*.xml"))]
    if not found:
        raise InvalidInputError(f"{directory}: expected labels Annotations/*.xml, found none")
    return LabelledImages(directory, tuple(found))


def write_voc(directory: Path, labelled: LabelledImages) -> None:
    """Write one XML file an image; images themselves stay where they are, by their names' last part."""
    target = directory / "Annotations"
    target.mkdir(parents=True, exist_ok=True)
    for image in labelled:
        root = ElementTree.Element("annotation")
        _add(root, "folder", "JPEGImages")
        _add(root, "filename", Path(image.name).name)
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
        ElementTree.ElementTree(root).write(target / f"{Path(image.name).stem}.xml", encoding="utf-8")


def _read(path: Path) -> LabelledImage:
    try:
        # Labels are the user's own files; entities are not expanded from outside by this parser.
        root = ElementTree.parse(path).getroot()  # noqa: S314
        boxes, class_ids, ignored = [], [], []
        for entry in root.findall("object"):
            name = _text(entry, "name")
            name = _OTHER_NAMES.get(name, name)
            if name not in CLASS_NAMES:
                continue
            edges = [float(_text(entry, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append([edges[0] - 1, edges[1] - 1, edges[2], edges[3]])
            class_ids.append(CLASS_NAMES.index(name))
            ignored.append(entry.findtext("difficult", "0").strip() == "1")
        return LabelledImage(
            f"JPEGImages/{_text(root, 'filename')}",
            int(_text(root, "size/width")),
            int(_text(root, "size/height")),
            boxes,
            class_ids,
            ignored=ignored,
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise InvalidInputError(f"{path}: not Pascal VOC labels: {error}") from error


def _text(element: ElementTree.Element, key: str) -> str:
    found = element.findtext(key)
    if found is None:
        raise ValueError(f"{key} is missing")
    return found.strip()


def _add(parent: ElementTree.Element, tag: str, text: str | None = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = text
    return child
