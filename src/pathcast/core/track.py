"""Objects with an identity: those of one frame, and one object over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, frozen_array
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import check_utc
from pathcast.core.trajectory import check_units


@dataclass(frozen=True, slots=True, eq=False)
class FrameTracks:
    """The tracks reported for one frame; parallel arrays, one row per track, ascending `track_ids`.

    `track_ids` (n,) int64, unique per camera and never reused. `xyxy` (n, 4) float32 pixels of the
    original frame, the tracker's estimate. `scores` (n,) float32. `class_ids` (n,) int64.
    `detection_indices` (n,) int64: the row of the frame's Detections that the track took, or -1 where
    the tracker carried on without one.
    """

    track_ids: Int64Array
    xyxy: Float32Array
    scores: Float32Array
    class_ids: Int64Array
    detection_indices: Int64Array

    def __init__(
        self,
        track_ids: npt.ArrayLike,
        xyxy: npt.ArrayLike,
        scores: npt.ArrayLike,
        class_ids: npt.ArrayLike,
        detection_indices: npt.ArrayLike,
    ) -> None:
        ids = frozen_array("track_ids", track_ids, np.int64, (None,))
        count = len(ids)
        # Ascending ids, the usual case, need no sorting.
        if count > 1 and np.count_nonzero(ids[1:] > ids[:-1]) < count - 1 and len(np.unique(ids)) != count:
            raise InvalidInputError(f"track_ids: expected unique ids, got {ids}")
        object.__setattr__(self, "track_ids", ids)
        object.__setattr__(self, "xyxy", frozen_array("xyxy", xyxy, np.float32, (count, 4)))
        object.__setattr__(self, "scores", frozen_array("scores", scores, np.float32, (count,)))
        object.__setattr__(self, "class_ids", frozen_array("class_ids", class_ids, np.int64, (count,)))
        object.__setattr__(
            self, "detection_indices", frozen_array("detection_indices", detection_indices, np.int64, (count,))
        )

    def __len__(self) -> int:
        return len(self.track_ids)

    def select(self, rows: npt.NDArray[np.bool_] | Int64Array) -> FrameTracks:
        """The rows under a boolean mask, or at the given indices in their order."""
        columns = (self.track_ids, self.xyxy, self.scores, self.class_ids, self.detection_indices)
        return FrameTracks(*(column[rows] for column in columns))


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object of one camera over time, in frame order.

    `captured_at`: aware UTC, strictly increasing, one per row. `xyxy` (n, 4) float32 pixels.
    `positions` (n, 2) float64: the foot point in `units`.
    """

    camera_id: str
    track_id: int
    class_id: int
    captured_at: tuple[datetime, ...]
    xyxy: Float32Array
    positions: Float64Array
    units: str

    def __init__(
        self,
        camera_id: str,
        track_id: int,
        class_id: int,
        captured_at: tuple[datetime, ...],
        xyxy: npt.ArrayLike,
        positions: npt.ArrayLike,
        units: str,
    ) -> None:
        count = len(captured_at)
        for moment in captured_at:
            check_utc("captured_at", moment)
        if any(later <= earlier for earlier, later in zip(captured_at, captured_at[1:], strict=False)):
            raise InvalidInputError(f"track {track_id} of {camera_id}: captured_at must strictly increase")
        object.__setattr__(self, "camera_id", camera_id)
        object.__setattr__(self, "track_id", track_id)
        object.__setattr__(self, "class_id", class_id)
        object.__setattr__(self, "captured_at", captured_at)
        object.__setattr__(self, "xyxy", frozen_array("xyxy", xyxy, np.float32, (count, 4)))
        object.__setattr__(self, "positions", frozen_array("positions", positions, np.float64, (count, 2)))
        object.__setattr__(self, "units", check_units(units))

    def __len__(self) -> int:
        return len(self.captured_at)
