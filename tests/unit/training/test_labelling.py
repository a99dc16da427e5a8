from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pathcast.core import Detections
from pathcast.training.labelling import LabellingSettings, RecordedFrame, label

START = datetime(2024, 1, 1, tzinfo=UTC)


def teacher(seen: dict[int, list[tuple[float, float]]]) -> object:
    """Boxes at x with a score, by the value of a frame's first pixel."""

    def look(pixels: np.ndarray) -> Detections:
        found = seen.get(int(pixels[0, 0, 0]), [])
        return Detections([[x, 10, x + 10, 30] for x, _ in found], [score for _, score in found], [0] * len(found))

    return look


def frames(count: int) -> list[RecordedFrame]:
    return [
        RecordedFrame(f"{n}.jpg", START + timedelta(seconds=n / 10), np.full((48, 64, 3), n, np.uint8))
        for n in range(count)
    ]


def test_what_lasts_is_labelled_and_what_flickers_or_is_weak_is_ignored() -> None:
    seen = {n: [(10.0 + n * 0.2, 0.9)] for n in range(8)}
    seen[3] = [*seen[3], (45.0, 0.9)]
    seen[5] = [(11.0, 0.2), (30.0, 0.05)]
    labelled = label(frames(8), teacher(seen), "gate", LabellingSettings(sure=0.4, unsure=0.1, frames=3))  # type: ignore[arg-type]
    assert [len(image) for image in labelled] == [1, 1, 1, 2, 1, 1, 1, 1]
    assert labelled[3].ignored.tolist() == [False, True]
    assert labelled[5].ignored.tolist() == [True]
    assert {int(image.track_ids[0]) for image in labelled} == {1}
    assert labelled[0].scores.tolist() == pytest.approx([0.9])
    assert labelled[0].camera == "gate"


def test_the_tracker_sees_every_frame_even_if_few_are_kept() -> None:
    seen = {n: [(10.0 + n * 0.2, 0.9)] for n in range(9)}
    labelled = label(frames(9), teacher(seen), "gate", LabellingSettings(frames=9, every=4))  # type: ignore[arg-type]
    assert [image.name for image in labelled] == ["0.jpg", "4.jpg", "8.jpg"]
    assert not any(image.ignored.any() for image in labelled)
