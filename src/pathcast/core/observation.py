"""Everything the platform learned from one frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pathcast.core.arrays import Float32Array, Float64Array
from pathcast.core.classifications import Classifications
from pathcast.core.detections import Detections
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.track import FrameTracks


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """The analyzer's result for one frame; (camera_id, captured_at) is its natural key.

    `positions` (len(tracks), 2) float64: the foot point of each track in `units`. `forecasts` were made,
    and `scores` fell due, while this frame was processed. `detector` and `detector_version` name the
    model that made the detections. `brightness` (mean luminance, 0 to 255) and `sharpness` (grey levels) say what
    the image was like (see `pathcast.serving.frame_statistics`); None where nobody measured it.
    `classifications` say of what kind detections are, where the camera asks; of each detection one at the most.
    `appearance` (d,) float32 is what the tracked objects look like in the mean (see `frame_statistics`); None where
    the detector gives no vectors, or nothing is tracked.
    """

    camera_id: str
    sequence: int
    captured_at: datetime
    width: int
    height: int
    detector: str
    detector_version: str
    detections: Detections
    tracks: FrameTracks
    positions: Float64Array
    units: str
    forecasts: tuple[Forecast, ...] = ()
    scores: tuple[ForecastScore, ...] = ()
    traceparent: str = ""
    brightness: float | None = None
    sharpness: float | None = None
    classifications: tuple[Classifications, ...] = ()
    appearance: Float32Array | None = None
