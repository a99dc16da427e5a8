"""COCO JSON, the form that labelling tools share (https://cocodataset.org/#format-data), to and from `LabelledImages`.

Beside COCO's own keys stand some that COCO leaves room for: `attributes` with `track_id` and `score` on annotations,
`camera` and `captured_at` on images. `iscrowd` marks an ignored box. CVAT's reader (Datumaro) asks for `segmentation`,
be it empty; Label Studio's (label_studio_sdk.converter) for a `score`, 1 where no teacher gave one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES
from pathcast.detection.labelled import LabelledImage, LabelledImages


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
        "info": {"description": f"{len(images)} images, {len(annotations)} boxes", "version": "1"},
        "licenses": [],
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASS_NAMES, start=1)],
        "images": images,
        "annotations": annotations,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def read_coco(path: Path, root: Path | None = None) -> LabelledImages:
    """Read labels; images are below `root`, by default the file's own folder.

    Categories go by name; those that the platform does not have are left out. Raises InvalidInputError, naming
    the entry, where the file is not COCO JSON.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        class_ids = {
            entry["id"]: CLASS_NAMES.index(entry["name"])
            for entry in document["categories"]
            if entry["name"] in CLASS_NAMES
        }
        known = {entry["id"] for entry in document["categories"]}
        entries = {entry["id"]: entry for entry in document["images"]}
        by_image: dict[Any, list[Mapping[str, Any]]] = {image_id: [] for image_id in entries}
        for annotation in document["annotations"]:
            if annotation["image_id"] not in by_image or annotation["category_id"] not in known:
                raise InvalidInputError(
                    f"{path}: annotation {annotation.get('id')}: expected an image and a category of the file, got "
                    f"image {annotation['image_id']} and category {annotation['category_id']}"
                )
            if annotation["category_id"] in class_ids:
                by_image[annotation["image_id"]].append(annotation)
        images = tuple(_image(entry, by_image[image_id], class_ids) for image_id, entry in entries.items())
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path}: not COCO JSON: {error}") from error
    except KeyError as error:
        raise InvalidInputError(f"{path}: not COCO JSON: key {error} is missing") from error
    return LabelledImages(path.parent if root is None else root, images)


def _image(
    entry: Mapping[str, Any], annotations: list[Mapping[str, Any]], class_ids: Mapping[int, int]
) -> LabelledImage:
    if entry["width"] is None or entry["height"] is None:
        raise InvalidInputError(
            f"{entry['file_name']}: expected a width and a height, got {entry['width']} and {entry['height']}",
            hint="Label Studio leaves them out where it cannot open the image: export with the images served",
        )
    rows = [[float(value) for value in annotation["bbox"]] for annotation in annotations]
    boxes = np.array(rows, np.float64).reshape(-1, 4)
    attributes = [annotation.get("attributes") or {} for annotation in annotations]
    taken = entry.get("captured_at")
    return LabelledImage(
        entry["file_name"],
        int(entry["width"]),
        int(entry["height"]),
        np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]),
        [class_ids[annotation["category_id"]] for annotation in annotations],
        ignored=[bool(annotation.get("iscrowd", 0)) for annotation in annotations],
        track_ids=[_number(values.get("track_id"), -1) for values in attributes],
        scores=[_number(values.get("score"), np.nan) for values in attributes],
        camera=str(entry.get("camera", "")),
        captured_at=None if taken is None else datetime.fromisoformat(taken),
    )


def _number(value: Any, missing: float) -> float:
    """Labelling tools return an attribute that nobody filled in as an empty text or null."""
    return missing if value in (None, "") else float(value)
