from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.detection.corrections import corrected
from pathcast.detection.labelled import LabelledImage, LabelledImages

ROOT = Path("set")


def given() -> LabelledImages:
    boxes = [[10, 10, 20, 30], [30, 10, 40, 30], [50, 10, 60, 30]]
    first = LabelledImage("images/a.jpg", 64, 48, boxes, [0, 0, 2], track_ids=[4, 5, 6], scores=[0.9, 0.8, 0.5])
    return LabelledImages(ROOT, (first, LabelledImage("images/b.jpg", 64, 48, [[1, 1, 9, 9]], [0], scores=[0.7])))


def returned(name: str = "images/a.jpg", width: int = 64) -> LabelledImages:
    boxes = [[10.3, 10, 20, 30], [32, 10, 43, 30], [2, 30, 12, 45]]
    return LabelledImages(ROOT, (LabelledImage(name, width, 48, boxes, [0, 0, 1]),))


@pytest.mark.parametrize("name", ["images/a.jpg", "a.jpg", "task_1/a.jpg"])
def test_people_have_the_last_word_and_objects_keep_their_numbers(name: str) -> None:
    merged, counts = corrected(given(), returned(name))
    assert counts == {"images": 1, "kept": 1, "changed": 1, "added": 1, "removed": 1}
    first, second = merged
    assert first.name == "images/a.jpg"
    assert first.xyxy.tolist() == returned().images[0].xyxy.tolist()
    assert first.track_ids.tolist() == [4, 5, -1]
    assert np.isnan(first.scores).all()
    assert second.scores.tolist() == [0.7]


def test_returning_what_was_given_changes_nothing_but_the_scores() -> None:
    merged, counts = corrected(given(), given())
    assert counts == {"images": 2, "kept": 4, "changed": 0, "added": 0, "removed": 0}
    for one, two in zip(merged, given(), strict=True):
        np.testing.assert_array_equal(one.xyxy, two.xyxy)
        np.testing.assert_array_equal(one.track_ids, two.track_ids)


@pytest.mark.parametrize(
    ("back", "message"),
    [
        (returned("c.jpg"), "got 0 of them"),
        (returned(width=32), "expected 64x48 as given, got 32x48"),
        (LabelledImages(ROOT, returned().images * 2), "once"),
    ],
)
def test_what_was_not_given_is_refused(back: LabelledImages, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        corrected(given(), back)
