"""The objects seen in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Int64Array, frozen_array, require_finite
from pathcast.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Parallel arrays, one row per object.

    `xyxy` (n, 4) float32: left, top, right, bottom in pixels of the original frame, x to the right
    and y down, right ≥ left and bottom ≥ top. `scores` (n,) float32 in [0, 1]. `class_ids` (n,) int64
    into the model's class names. `embeddings` (n, d) float32 appearance vectors, or None.

    >>> len(Detections([[0, 0, 10, 20]], [0.9], [0]))
    1
    """

    xyxy: Float32Array
    scores: Float32Array
    class_ids: Int64Array
    embeddings: Float32Array | None = field(default=None)

    def __init__(
        self,
        xyxy: npt.ArrayLike,
        scores: npt.ArrayLike,
        class_ids: npt.ArrayLike,
        embeddings: npt.ArrayLike | None = None,
    ) -> None:
        boxes = frozen_array("xyxy", xyxy, np.float32, (None, 4))
        count = len(boxes)
        require_finite("xyxy", boxes)
        if np.count_nonzero(boxes[:, 2:] < boxes[:, :2]):
            row = int(np.argwhere((boxes[:, 2:] < boxes[:, :2]).any(axis=1))[0][0])
            raise InvalidInputError(f"xyxy: row {row} has right < left or bottom < top: {boxes[row]}")
        confidences = frozen_array("scores", scores, np.float32, (count,))
        if np.count_nonzero((confidences >= 0) & (confidences <= 1)) < count:
            raise InvalidInputError(
                f"scores: expected values in [0, 1], got {confidences.min()} to {confidences.max()}"
            )
        object.__setattr__(self, "xyxy", boxes)
        object.__setattr__(self, "scores", confidences)
        object.__setattr__(self, "class_ids", frozen_array("class_ids", class_ids, np.int64, (count,)))
        vectors = None if embeddings is None else frozen_array("embeddings", embeddings, np.float32, (count, None))
        object.__setattr__(self, "embeddings", vectors)

    @classmethod
    def empty(cls) -> Self:
        return cls(np.empty((0, 4)), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.xyxy)

    def select(self, rows: npt.NDArray[np.bool_] | Int64Array) -> Detections:
        """The rows under a boolean mask, or at the given indices in their order."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return Detections(self.xyxy[rows], self.scores[rows], self.class_ids[rows], embeddings)
