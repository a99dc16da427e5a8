"""A teacher labels recordings: what it is sure of, and what holds over time.

A box is kept when the teacher is sure of it and when the tracker sees its object for a while; a box of which the
teacher is less sure, or that flickers, is marked as ignored, so that nobody learns from it either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage
from pathcast.tracking.tracker import Tracker

Teacher = Callable[[UInt8Array], Detections]
"""RGB pixels (h, w, 3) → objects in pixels of the frame, the weak ones too."""


@dataclass(frozen=True, slots=True)
class LabellingSettings:
    """`sure` and `unsure` are scores: from `sure` a box is a label, from `unsure` it is ignored, below it is nothing.

    An object must be seen on `frames` frames or more. Every `every`-th frame is kept.
    """

    sure: float = 0.4
    unsure: float = 0.1
    frames: int = 3
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.unsure <= self.sure <= 1 or min(self.frames, self.every) < 1:
            raise InvalidInputError(
                f"labelling: expected 0 ≤ unsure ≤ sure ≤ 1, frames and every of 1 or more, got {self}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One frame of one camera, in the order of time; `name` is the file's path below the set's folder."""

    name: str
    captured_at: datetime
    pixels: UInt8Array


def label(
    frames: Iterable[RecordedFrame], teacher: Teacher, camera: str, settings: LabellingSettings | None = None
) -> list[LabelledImage]:
    """Labels of one camera's recording, with the objects' track numbers and the teacher's scores."""
    rules = settings or LabellingSettings()
    tracker, drafts = Tracker(), []
    lengths: dict[int, int] = {}
    for number, frame in enumerate(frames):
        seen = teacher(frame.pixels)
        tracks = np.full(len(seen), -1)
        followed = tracker.update(seen, frame.captured_at)
        taken = followed.detection_indices >= 0
        tracks[followed.detection_indices[taken]] = followed.track_ids[taken]
        for identity in tracks[tracks >= 0].tolist():
            lengths[identity] = lengths.get(identity, 0) + 1
        if number % rules.every == 0:
            drafts.append((frame.name, frame.captured_at, frame.pixels.shape, seen, tracks))
    found = []
    for name, captured_at, shape, seen, tracks in drafts:
        lasting = np.array([lengths.get(int(identity), 0) >= rules.frames for identity in tracks], np.bool_)
        kept = seen.scores >= rules.unsure
        found.append(
            LabelledImage(
                name,
                shape[1],
                shape[0],
                seen.xyxy[kept],
                seen.class_ids[kept],
                ignored=~((seen.scores >= rules.sure) & lasting)[kept],
                track_ids=tracks[kept],
                scores=seen.scores[kept],
                camera=camera,
                captured_at=captured_at,
            )
        )
    return found
