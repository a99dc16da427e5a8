from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from pathcast.core.boxes import intersection_over_union
from pathcast.tracking import association
from pathcast.tracking.association import Pairs, assign, similar_pairs

LEAST = 0.0512345
"""A similarity that no boxes of whole pixels have to the last bit."""


@st.composite
def boxes(draw: st.DrawFn, most: int = 5, least_size: int = 0) -> np.ndarray:
    edge, size = st.integers(0, 40), st.integers(least_size, 40)
    rows = draw(st.lists(st.tuples(edge, edge, size, size), max_size=most))
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


def centred(xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate(((xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]), axis=1).T


def grown(xyxy: np.ndarray, ratio: float) -> np.ndarray:
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * ratio
    return np.hstack((xyxy[:, :2] - margin, xyxy[:, 2:] + margin))


def dense(first: np.ndarray, second: np.ndarray, buffer_ratio: float, least: float) -> np.ndarray:
    pairs = similar_pairs(centred(first), centred(second), buffer_ratio, 0.0, least)
    value = np.zeros((len(first), len(second)))
    value[pairs.rows, pairs.columns] = pairs.values
    return value


def test_a_buffer_reaches_boxes_that_do_not_touch() -> None:
    first, second = np.array([[0.0, 0, 10, 20]]), np.array([[12.0, 0, 22, 20]])
    assert dense(first, second, 0.0, 0.01) == 0
    assert dense(first, second, 0.3, 0.01) > 0.1


def test_heights_that_differ_lower_the_similarity() -> None:
    first, second = np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 5, 10, 15]])
    plain, weighted = (similar_pairs(centred(first), centred(second), 0.0, power, 0.01).values for power in (0.0, 2.0))
    assert plain == pytest.approx([1 / 3])
    assert weighted == pytest.approx([1 / 27])


WAYS = {"all with all": (1000, 1000), "bisected": (0, 1000), "on a grid": (0, 0)}
"""Up to how many pairs boxes are compared in the first two of the ways."""


@contextmanager
def compared(way: str) -> Iterator[None]:
    all_with_all, bisected = WAYS[way]
    with patch.multiple(association, _ALL_WITH_ALL=all_with_all, _BISECTED=bisected):
        yield


@pytest.mark.parametrize("way", WAYS)
@given(boxes(14, 1), boxes(14, 1), st.sampled_from([0.0, 0.3, 1.0]))
def test_all_similar_pairs_are_found(way: str, first: np.ndarray, second: np.ndarray, buffer_ratio: float) -> None:
    every = intersection_over_union(grown(first, buffer_ratio), grown(second, buffer_ratio))
    with compared(way):
        found = dense(first, second, buffer_ratio, LEAST)
    np.testing.assert_allclose(found, np.where(every >= LEAST, every, 0.0))


@given(boxes(9, 1), boxes(9, 1))
def test_few_boxes_are_compared_to_the_bit_as_many_are(first: np.ndarray, second: np.ndarray) -> None:
    tables = []
    for way in WAYS:
        with compared(way):
            pairs = similar_pairs(centred(first), centred(second), 0.4, 2.0, 0.1)
        tables.append(np.zeros((len(first), len(second))))
        tables[-1][pairs.rows, pairs.columns] = pairs.values
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(tables[0], tables[2])


@pytest.mark.parametrize(("spread", "size"), [(2000.0, 3.0), (2000.0, 400.0), (1e7, 20.0), (0.0, 20.0)])
def test_no_pair_of_a_crowd_is_lost_or_found_twice(spread: float, size: float) -> None:
    generator = np.random.default_rng(5)
    sizes = generator.uniform(0.05, 1.0, (2, 2, 300)) * size + 1.0
    first, second = (np.concatenate((generator.uniform(-spread, spread, (2, 300)), each)) for each in sizes)
    second[:2, :250] = first[:2, :250] + generator.uniform(-0.5, 0.5, (2, 250)) * size
    tables = []
    for way in ("bisected", "on a grid"):
        with compared(way):
            pairs = similar_pairs(first, second, 0.4, 2.0, 0.1)
        order = np.lexsort((pairs.columns, pairs.rows))
        tables.append(np.stack((pairs.rows, pairs.columns, pairs.values))[:, order])
    assert len(tables[0][0]) > 10
    np.testing.assert_array_equal(*tables)


def as_pairs(value: np.ndarray, least: float) -> Pairs:
    rows, columns = np.nonzero(value >= least)
    return Pairs(rows, columns, value[rows, columns])


def test_the_better_of_two_equal_pairs_counts() -> None:
    pairs = Pairs(np.array([0, 1, 0]), np.array([0, 0, 0]), np.array([0.4, 0.6, 0.9]))
    rows, columns = assign(pairs, 0.3)
    assert (rows.tolist(), columns.tolist()) == ([0], [0])


def test_no_pairs_give_no_matches() -> None:
    rows, columns = assign(as_pairs(np.zeros((3, 0)), 0.3), 0.3)
    assert len(rows) == len(columns) == 0


@given(
    arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.integers(0, 20).map(lambda v: v / 20))
)
def test_the_assignment_is_the_best_of_all(value: np.ndarray) -> None:
    least = 0.3
    rows, columns = assign(as_pairs(value, least), least)
    assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) == len(columns)
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


def test_crowds_are_assigned_as_well_as_by_one_large_table() -> None:
    generator = np.random.default_rng(3)
    least = 0.2
    for _ in range(20):
        places = generator.uniform(0, 300, (2, 80))
        boxes = np.concatenate((places, np.full((1, 80), 20.0), np.full((1, 80), 50.0)))
        moved = boxes + np.concatenate((generator.normal(0, 6, (2, 80)), np.zeros((2, 80))))
        pairs = similar_pairs(boxes, moved, 0.3, 2.0, least)
        rows, columns = assign(pairs, least)
        gains = np.zeros((80, 80))
        gains[pairs.rows, pairs.columns] = pairs.values - least
        best = gains[linear_sum_assignment(gains, maximize=True)].sum()
        assert len(set(rows.tolist())) == len(rows) == len(set(columns.tolist())) == len(columns)
        assert gains[rows, columns].sum() == pytest.approx(best, abs=1e-6)
