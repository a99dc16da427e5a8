"""Other trackers to stand beside: those of Roboflow's `trackers` library, at that library's defaults."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pathcast.core import Detections, FrameTracks, PathcastError

_HINT = "pip install 'pathcast[dev]', or leave the peers out"


class Peer:
    """One of the library's trackers, fed frame by frame at a fixed rate as the library does by default.

    Conversions stand apart from `update`, so that a clock around `update` measures the library alone.
    """

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def convert(self, detections: Detections) -> Any:
        """The library's type of detections, copied."""
        import supervision

        return supervision.Detections(
            xyxy=np.array(detections.xyxy),
            confidence=np.array(detections.scores),
            class_id=np.array(detections.class_ids),
        )

    def update(self, converted: Any) -> Any:
        """The library's result for the next frame."""
        return self._tracker.update(converted)

    def tracks(self, result: Any) -> FrameTracks:
        """A result as FrameTracks: what has an id is a track; the library counts from 0, we from 1.

        The library reorders detections, so the rows they came from are not known (-1).
        """
        rows = np.flatnonzero(result.tracker_id >= 0)
        rows = rows[np.argsort(result.tracker_id[rows], kind="stable")]
        return FrameTracks(
            result.tracker_id[rows] + 1,
            result.xyxy[rows],
            result.confidence[rows],
            result.class_id[rows],
            np.full(len(rows), -1),
        )


def peers() -> dict[str, Callable[[], Peer]]:
    """Name → maker of a fresh tracker; raises PathcastError where the library is not installed."""
    try:
        import trackers
    except ImportError as error:
        raise PathcastError("the peers need the `trackers` library, which is not installed", hint=_HINT) from error
    kinds: dict[str, Callable[[], Any]] = {
        "SORT": trackers.SORTTracker,
        "ByteTrack": trackers.ByteTrackTracker,
        "OC-SORT": trackers.OCSORTTracker,
        "C-BIoU": trackers.CBIoUTracker,
    }
    return {name: partial(_make, kind) for name, kind in kinds.items()}


def _make(kind: Callable[[], Any]) -> Peer:
    return Peer(kind())
