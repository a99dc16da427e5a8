"""COCO JSON, the form that labelling tools share (https://cocodataset.org/#format-data), to and from `LabelledImages`.

Beside COCO's own keys stand some that COCO leaves room for: `attributes` with `track_id` and `score` on annotations,
`camera` and `captured_at` on images, `pathcast` in `info` with what is known about the labels. `iscrowd` marks an
ignored box. CVAT's reader (Datumaro) asks for `segmentation`, be it empty; Label Studio's (label_studio_sdk.converter)
for a `score`, 1 where no teacher gave one.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, ClassOf, class_id_of
from pathcast.detection.labelled import (
    BAD_LABELS,
    Fault,
    LabelledImage,
    LabelledImages,
    OnFault,
    other_classes,
    refuse,
)

_LOOKED_FOR = 100
"""So many images, the first, tell where all lie."""


def write_coco(path: Path, labelled: LabelledImages) -> None:
    """Write the labels; file names stay as they are, below the set's own folder."""
    annotations: list[dict[str, Any]] = []
    images = []
    for image_id, image in enumerate(labelled, start=1):
        entry: dict[str, Any] = {
            "id": image_id,
            "file_name": image.name,
            "width": image.width,
            "height": image.height,
        }
        if image.camera:
            entry["camera"] = image.camera
        if image.captured_at is not None:
            entry["captured_at"] = image.captured_at.isoformat()
        images.append(entry)
        for row, (x1, y1, x2, y2) in enumerate(image.xyxy.tolist()):
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(image.class_ids[row]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": int(image.ignored[row]),
                "segmentation": [],
                "score": float(np.nan_to_num(image.scores[row], nan=1.0)),
            }
            attributes: dict[str, Any] = {}
            if image.track_ids[row] >= 0:
                attributes["track_id"] = int(image.track_ids[row])
            if np.isfinite(image.scores[row]):
                attributes["score"] = float(image.scores[row])
            if attributes:
                annotation["attributes"] = attributes
            annotations.append(annotation)
    document = {
        "info": {
            "description": f"{len(images)} images, {len(annotations)} boxes",
            "version": "1",
            "pathcast": dict(labelled.about),
        },
        "licenses": [],
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASS_NAMES, start=1)],
        "images": images,
        "annotations": annotations,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def read_coco(
    path: Path, root: Path | None = None, fault: OnFault = refuse, class_of: ClassOf = class_id_of
) -> LabelledImages:
    """Read labels; images are below `root`, by default where they lie: the file's own folder, or COCO's own places.

    Categories go by name; boxes of those that the platform does not have are left out and counted. Faults are entries
    that are none: of an image with such an annotation, or with the number of another one, not all labels are known.
    Raises InvalidInputError where the file is not COCO JSON.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        about = dict((document.get("info") or {}).get("pathcast") or {})
        _check_counts(about.get("other_classes") or {})
        known = {entry["id"]: str(entry["name"]) for entry in document["categories"]}
        entries = _by_number(document["images"], fault)
        by_image: dict[Any, list[Mapping[str, Any]]] = {number: [] for number in entries}
        others = Counter[str]()
        for annotation in document["annotations"]:
            number, category = annotation["image_id"], annotation["category_id"]
            which = f"annotation {annotation.get('id')}"
            if number not in entries:
                fault(Fault(path.name, BAD_LABELS, f"{which}: expected an image of the file, got {number}"))
            elif category not in known:
                detail = f"{which}: expected a category of {path.name}, got {category}"
                fault(Fault(str(entries[number]["file_name"]), BAD_LABELS, detail))
            elif (class_id := class_of(known[category])) is None:
                others[known[category]] += 1
            else:
                by_image[number].append({**annotation, "class_id": class_id})
        images = [_image(entry, by_image[number], fault) for number, entry in entries.items()]
    except OSError as error:
        raise InvalidInputError(f"{path}: expected a file of COCO JSON: {error.strerror}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not COCO JSON: {error}") from error
    except KeyError as error:
        raise InvalidInputError(f"{path}: not COCO JSON: key {error} is missing") from error
    place = _folder_of(path, [str(entry["file_name"]) for entry in entries.values()]) if root is None else root
    found = tuple(image for image in images if image is not None)
    return LabelledImages(place, found, about={**about, **other_classes(others)})


def _check_counts(counts: object) -> None:
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        raise ValueError(f"info.pathcast.other_classes: expected counts by name, got {counts!r}")


def _by_number(images: Sequence[Mapping[str, Any]], fault: OnFault) -> dict[Any, Mapping[str, Any]]:
    """The images by their ids; of several with one id nobody knows whose boxes are whose."""
    found: dict[Any, Mapping[str, Any]] = {}
    for entry in images:
        first = found.setdefault(entry["id"], entry)
        if first is not entry:
            for one, other in ((first, entry), (entry, first)):
                detail = f"expected an id of its own, {entry['id']} is that of {other['file_name']} too"
                fault(Fault(str(one["file_name"]), BAD_LABELS, detail))
    return found


def _folder_of(path: Path, names: Sequence[str]) -> Path:
    """The folder that most of the images lie below: the file's, or one of COCO's own layout.

    COCO has annotations/instances_train2017.json beside train2017/; CVAT has images/train/ or images/ there.
    """
    places = [path.parent]
    if path.parent.name == "annotations":
        top, subset = path.parent.parent, path.stem.rpartition("_")[2]
        places += [top / "images" / subset, top / subset, top / "images", top]
    # Path.is_file raises for a name that is too long for a file.
    return max(places, key=lambda place: sum(os.path.isfile(place / name) for name in names[:_LOOKED_FOR]))


def _image(entry: Mapping[str, Any], annotations: list[Mapping[str, Any]], fault: OnFault) -> LabelledImage | None:
    name, taken = str(entry["file_name"]), entry.get("captured_at")
    if entry["width"] is None or entry["height"] is None:
        hint = "Label Studio leaves them out where it cannot open the image: export with the images served"
        sizes = f"got {entry['width']} and {entry['height']}"
        fault(Fault(name, BAD_LABELS, f"expected a width and a height, {sizes}", hint))
        return None
    rows, good = [], []
    for annotation in annotations:
        try:
            left, top, width, height = (float(value) for value in annotation["bbox"])
        except (ValueError, TypeError, OverflowError) as error:
            fault(Fault(name, BAD_LABELS, f"annotation {annotation.get('id')}: bbox {annotation['bbox']}: {error}"))
            continue
        rows.append([left, top, left + width, top + height])
        good.append(annotation)
    attributes = [annotation.get("attributes") or {} for annotation in good]
    try:
        return LabelledImage(
            name,
            int(entry["width"]),
            int(entry["height"]),
            rows,
            [annotation["class_id"] for annotation in good],
            ignored=[bool(annotation.get("iscrowd", 0)) for annotation in good],
            track_ids=[_number(values.get("track_id"), -1) for values in attributes],
            scores=[_number(values.get("score"), np.nan) for values in attributes],
            camera=str(entry.get("camera", "")),
            captured_at=None if taken is None else datetime.fromisoformat(taken),
        )
    except InvalidInputError as error:
        fault(Fault(name, BAD_LABELS, error.message))
    except (ValueError, TypeError, OverflowError) as error:
        fault(Fault(name, BAD_LABELS, f"a value that cannot be read: {error}"))
    return None


def _number(value: Any, missing: float) -> float:
    """Labelling tools return an attribute that nobody filled in as an empty text or null."""
    return missing if value in (None, "") else float(value)
