"""The types that every other part speaks in."""

from pathcast.core.detections import Detections
from pathcast.core.errors import GateFailedError, InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.core.track import FrameTracks, Track
from pathcast.core.trajectory import Trajectory

__all__ = [
    "Detections",
    "Forecast",
    "ForecastScore",
    "Frame",
    "FrameTracks",
    "GateFailedError",
    "InvalidInputError",
    "Observation",
    "PathcastError",
    "ServiceUnavailableError",
    "Track",
    "Trajectory",
]
