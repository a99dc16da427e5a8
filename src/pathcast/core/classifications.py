"""What a classifier said of detections: the kind of a sign, of a car."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Int64Array, frozen_array
from pathcast.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class Classifications:
    """Parallel arrays, a row for each detection of a frame that `model` in `model_version` was asked about.

    `detection_indices` (k,) int64: rows of the frame's detections, ascending. `class_ids` (k,) int64, the likeliest of
    the classifier's own classes, and `probabilities` (k,) float32 of it, in [0, 1].

    >>> len(Classifications("signs", "3", [0, 4], [14, 1], [0.99, 0.4]))
    2
    """

    model: str
    model_version: str
    detection_indices: Int64Array
    class_ids: Int64Array
    probabilities: Float32Array

    def __init__(
        self,
        model: str,
        model_version: str,
        detection_indices: npt.ArrayLike,
        class_ids: npt.ArrayLike,
        probabilities: npt.ArrayLike,
    ) -> None:
        rows = frozen_array("detection_indices", detection_indices, np.int64, (None,))
        classes = frozen_array("class_ids", class_ids, np.int64, (len(rows),))
        chances = frozen_array("probabilities", probabilities, np.float32, (len(rows),))
        if len(rows) and (int(rows[0]) < 0 or (np.diff(rows) <= 0).any() or int(classes.min()) < 0):
            raise InvalidInputError(
                f"classifications: expected ascending rows and classes of 0 or more, got {rows} and {classes}"
            )
        if not ((chances >= 0) & (chances <= 1)).all():
            raise InvalidInputError("classifications: expected probabilities in [0, 1]")
        for name, value in (
            ("model", model),
            ("model_version", model_version),
            ("detection_indices", rows),
            ("class_ids", classes),
            ("probabilities", chances),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.detection_indices)
