from __future__ import annotations

import numpy as np
import pytest

from pathcast.core import Detections, InvalidInputError
from pathcast.detection.average_precision import GroundTruth, average_precision, precision_at_recall
from pathcast.detection.confusion import confusion

PERSON, CAR, NOTHING = 0, 2, 6
BOX, OTHER = [10, 10, 30, 50], [60, 10, 90, 30]


@pytest.mark.parametrize(
    ("found", "true", "ignored", "expected"),
    [
        ([], [], [], {}),
        ([(BOX, 0.9, PERSON)], [(BOX, PERSON)], [False], {(PERSON, PERSON): 1}),
        ([(BOX, 0.9, CAR)], [(BOX, PERSON)], [False], {(PERSON, CAR): 1}),
        ([(BOX, 0.2, PERSON)], [(BOX, PERSON)], [False], {(PERSON, NOTHING): 1}),
        ([(OTHER, 0.9, CAR)], [(BOX, PERSON)], [False], {(PERSON, NOTHING): 1, (NOTHING, CAR): 1}),
        (
            [(BOX, 0.9, PERSON), (BOX, 0.8, PERSON)],
            [(BOX, PERSON)],
            [False],
            {(PERSON, PERSON): 1, (NOTHING, PERSON): 1},
        ),
        ([(BOX, 0.9, PERSON), (BOX, 0.8, PERSON)], [(BOX, PERSON)], [True], {}),
        ([], [(BOX, PERSON)], [True], {}),
    ],
)
def test_every_box_is_counted_once(
    found: list[tuple[list[int], float, int]],
    true: list[tuple[list[int], int]],
    ignored: list[bool],
    expected: dict[tuple[int, int], int],
) -> None:
    seen = Detections([box for box, _, _ in found], [s for _, s, _ in found], [c for _, _, c in found])
    truth = GroundTruth([box for box, _ in true], [c for _, c in true], ignored)
    table = confusion([seen], [truth])
    assert table.shape == (7, 7)
    counted = {(int(row), int(column)): int(table[row, column]) for row, column in np.argwhere(table)}
    assert counted == expected


def test_images_must_agree() -> None:
    with pytest.raises(InvalidInputError, match="expected detections for 0, got 1"):
        confusion([Detections([], [], [])], [])


def test_the_curve_is_what_the_average_precision_is_the_mean_of() -> None:
    truth = [GroundTruth([BOX, OTHER], [PERSON, PERSON])]
    found = [Detections([BOX, [0, 60, 20, 90], OTHER], [0.9, 0.8, 0.7], [PERSON] * 3)]
    curve = precision_at_recall(found, truth)["person"]
    assert curve.shape == (101,)
    assert curve[0] == 1.0
    assert curve[-1] == pytest.approx(2 / 3)
    assert curve.mean() == pytest.approx(average_precision(found, truth).classes["person"].ap50)
    assert precision_at_recall([], []) == {}
