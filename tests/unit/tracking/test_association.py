from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pathcast.tracking.association import assign, buffered, height_agreement, intersection_over_union, similarity


@st.composite
def boxes(draw: st.DrawFn, most: int = 5) -> np.ndarray:
    rows = draw(st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=most))
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return np.hstack((table[:, :2], table[:, :2] + table[:, 2:]))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0.0),
        ([0, 0, 4, 4], [1, 1, 3, 3], 0.25),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),
    ],
)
def test_known_overlaps(first: list[float], second: list[float], expected: float) -> None:
    value = intersection_over_union(np.array([first], dtype=float), np.array([second], dtype=float))
    assert value == pytest.approx(np.array([[expected]]))


@given(boxes(), boxes())
def test_iou_is_symmetric_and_a_ratio(first: np.ndarray, second: np.ndarray) -> None:
    value = intersection_over_union(first, second)
    assert value.shape == (len(first), len(second))
    assert ((value >= 0) & (value <= 1)).all()
    np.testing.assert_array_equal(value, intersection_over_union(second, first).T)


def test_height_agreement() -> None:
    first = np.array([[0.0, 0, 1, 10]])
    others = np.array([[50.0, 0, 60, 10], [0, 5, 1, 15], [0, 20, 1, 30]])
    assert height_agreement(first, others) == pytest.approx(np.array([[1, 1 / 3, 0]]))


def test_buffered_grows_on_every_side() -> None:
    assert buffered(np.array([[10.0, 10, 20, 30]]), 0.5).tolist() == [[5, 0, 25, 40]]


def test_a_buffer_reaches_boxes_that_do_not_touch() -> None:
    first, second = np.array([[0.0, 0, 10, 20]]), np.array([[12.0, 0, 22, 20]])
    assert similarity(first, second, 0.0, 1.0) == 0
    assert similarity(first, second, 0.3, 1.0) > 0.1


@given(
    arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.integers(0, 20).map(lambda v: v / 20))
)
def test_the_assignment_is_the_best_of_all(value: np.ndarray) -> None:
    least = 0.3
    rows, columns = assign(value, least)
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) == len(columns)
    assert (np.diff(rows) > 0).all()
    assert (value[rows, columns] >= least).all()
    gains = np.where(value >= least, value - least + 1e-9, 0.0)
    wide = gains if gains.shape[0] <= gains.shape[1] else gains.T
    best = max(
        (
            sum(wide[row, column] for row, column in enumerate(order))
            for order in permutations(range(wide.shape[1]), wide.shape[0])
        ),
        default=0.0,
    )
    assert gains[rows, columns].sum() == pytest.approx(best)
