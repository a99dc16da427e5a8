"""Other trackers to stand beside, at their libraries' defaults: Roboflow's `trackers`, and Ultralytics' ByteTrack."""

from __future__ import annotations

import os
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
        raise PathcastError("peers: the `trackers` library is not installed", hint=_HINT) from error
    kinds: dict[str, Callable[[], Any]] = {
        "SORT": trackers.SORTTracker,
        "ByteTrack": trackers.ByteTrackTracker,
        "OC-SORT": trackers.OCSORTTracker,
        "C-BIoU": trackers.CBIoUTracker,
    }
    return {name: partial(_make, kind) for name, kind in kinds.items()}


def _make(kind: Callable[[], Any]) -> Peer:
    return Peer(kind())


class UltralyticsPeer(Peer):
    """Ultralytics' ByteTrack; it counts ids from 1."""

    def convert(self, detections: Detections) -> Any:
        """The library's type of detections, copied."""
        from ultralytics.engine.results import Boxes

        columns = (detections.xyxy, detections.scores[:, np.newaxis], detections.class_ids[:, np.newaxis])
        # The size of the image is needed for normalised boxes alone, which the tracker does not read.
        return Boxes(np.concatenate(columns, axis=1), (1, 1))

    def tracks(self, result: Any) -> FrameTracks:
        """A result, rows of xyxy, id, score, class and the detection's row, as FrameTracks."""
        table = np.asarray(result, dtype=np.float64).reshape(-1, 8)
        table = table[np.argsort(table[:, 4], kind="stable")]
        ids, rows = table[:, 4].astype(np.int64), table[:, 7].astype(np.int64)
        return FrameTracks(ids, table[:, :4], table[:, 5], table[:, 6], rows)


def ultralytics_peers() -> dict[str, Callable[[], Peer]]:
    """The same for Ultralytics; raises PathcastError where it is not installed: it is AGPL and brings PyTorch."""
    # Importing it would otherwise try to install what it lacks, by itself.
    os.environ.setdefault("YOLO_AUTOINSTALL", "False")
    try:
        from ultralytics.trackers.byte_tracker import BYTETracker
        from ultralytics.utils import YAML, IterableSimpleNamespace
        from ultralytics.utils.checks import check_yaml
    except ImportError as error:
        raise PathcastError(
            "Ultralytics' ByteTrack: the extra `yolo` is not installed", hint="pip install 'pathcast[yolo]' (AGPL-3.0)"
        ) from error
    settings = IterableSimpleNamespace(**YAML.load(check_yaml("bytetrack.yaml")))
    return {"ByteTrack (Ultralytics)": lambda: UltralyticsPeer(BYTETracker(settings))}
