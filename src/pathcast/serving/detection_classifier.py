"""What kind of thing a detection shows, where a camera asks: crops of detections through a served classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.classifications import Classifications
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES
from pathcast.recognition.crops import square_crop
from pathcast.serving.blocks import whole_blocks
from pathcast.serving.classifiers import Classifier

EVERY_CLASS = "*"

Asked = tuple[Mapping[str, str], Detections, UInt8Array]
"""A camera's `classify`, the detections of a frame and its image (h, w, 3) RGB."""


class DetectionClassifier:
    """Asks classifiers about detections, each model once for all frames of a wave.

    `find` opens a classifier by the name of its model; it is asked once for each name, and again where the model
    refuses the crops: a version of another size has been loaded.
    """

    def __init__(self, find: Callable[[str], Classifier]) -> None:
        self._find = find
        self._known: dict[str, Classifier] = {}

    def classify(self, asked: Sequence[Asked]) -> list[tuple[Classifications, ...]]:
        """For each frame what each of its models said, models in the order of their names.

        Raises what `find` raises, and ServiceUnavailableError where a model cannot be reached.
        """
        said: list[dict[str, Classifications]] = [{} for _ in asked]
        rows = [rows_by_model(classify, detections) for classify, detections, _ in asked]
        for model in sorted({name for each in rows for name in each}):
            frames = [number for number, each in enumerate(rows) if model in each]
            places = [(asked[number][2], asked[number][1].xyxy[rows[number][model]]) for number in frames]
            try:
                blocks, probabilities, version = self._ask(model, places)
            except InvalidInputError:
                self._known.pop(model, None)
                blocks, probabilities, version = self._ask(model, places)
            first = 0
            for number, block in zip(frames, blocks, strict=True):
                chosen = rows[number][model]
                mine = probabilities[first : first + len(chosen)]
                first += len(block)
                classes = mine.argmax(axis=1)
                best = np.clip(mine[np.arange(len(chosen)), classes], 0, 1)
                said[number][model] = Classifications(model, version, chosen, classes, best)
        return [tuple(each[model] for model in sorted(each)) for each in said]

    def _ask(
        self, model: str, places: Sequence[tuple[UInt8Array, Float32Array]]
    ) -> tuple[list[UInt8Array], Float32Array, str]:
        """A block of crops for each image with its boxes (n, 4), probabilities of all blocks, and the version."""
        if model not in self._known:
            self._known[model] = self._find(model)
        classifier = self._known[model]
        blocks = [
            whole_blocks(np.stack([square_crop(image, box, classifier.side) for box in boxes.tolist()]))
            for image, boxes in places
        ]
        return blocks, *classifier.classify(np.concatenate(blocks))


def rows_by_model(classify: Mapping[str, str], detections: Detections) -> dict[str, list[int]]:
    """Which rows of the detections each model is asked about; models without any are left out.

    A key of `classify` is a class by its name or, of a detector with other classes, its number; "*" is every class
    that has no key of its own. Raises InvalidInputError on an unknown name.

    >>> rows_by_model({"car": "makes", "*": "signs"}, Detections([[0, 0, 9, 9]] * 3, [1, 1, 1], [0, 2, 6]))
    {'signs': [0, 2], 'makes': [1]}
    """
    models = {class_number(key): model for key, model in classify.items() if key != EVERY_CLASS}
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(detections.class_ids.tolist()):
        model = models.get(label, classify.get(EVERY_CLASS))
        if model is not None:
            rows.setdefault(model, []).append(row)
    return rows


def class_number(key: str) -> int:
    """The detector's class that a name or a number means."""
    if key.isdigit():
        return int(key)
    if key not in CLASS_NAMES:
        raise InvalidInputError(
            f"classify: {key!r}: expected one of {', '.join(CLASS_NAMES)}, the number of another class, or "
            f"{EVERY_CLASS!r}"
        )
    return CLASS_NAMES.index(key)
