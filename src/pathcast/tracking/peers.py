"""Other trackers to stand beside: those of Roboflow's `trackers` library, at that library's defaults."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from pathcast.core import Detections, FrameTracks, PathcastError

_HINT = "pip install 'pathcast[dev]', or leave the peers out"


class Peer:
    """One of the library's trackers behind the interface of ours, fed frame by frame at a fixed rate.

    What it reports is a track wherever it has given an id; the ids it counts from 0 are shifted to 1.
    """

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker

    def update(self, detections: Detections) -> FrameTracks:
        """The tracks of the next frame."""
        import supervision

        result = self._tracker.update(
            supervision.Detections(
                xyxy=np.array(detections.xyxy),
                confidence=np.array(detections.scores),
                class_id=np.array(detections.class_ids),
            )
        )
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
