"""Which detection belongs to which track: box similarity and one-to-one assignment."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pathcast.core.arrays import Float64Array, Int64Array

_LEAST_GAIN = 1e-9
"""What a pair of the very least similarity gains: a match is better than none."""

_ALL_WITH_ALL, _BISECTED = 1000, 60_000
"""Up to so many pairs it is quicker to compare all with all, and to bisect, than to make a grid."""

_CELLS_PER_BOX = 4

# Arrays, because NumPy takes up to twice as long to work with one of Python's numbers.
_ZERO, _THREE = np.array(0.0), np.array(3.0)


class Pairs(NamedTuple):
    """Possible matches: parallel arrays (k,) of row, column and similarity; a pair may stand more than once."""

    rows: Int64Array
    columns: Int64Array
    values: Float64Array

    def select(self, kept: Int64Array | npt.NDArray[np.bool_]) -> Pairs:
        """The pairs at indices, or under a mask."""
        return Pairs(self.rows[kept], self.columns[kept], self.values[kept])


def similar_pairs(
    first: Float64Array, second: Float64Array, buffer_ratio: float, height_power: float, least: float
) -> Pairs:
    """The pairs of boxes `first` (4, n) and `second` (4, m) that are at least `least` > 0 similar.

    Boxes are centre x, centre y, width, height, of a positive size. Similarity is the IoU of the boxes grown by
    `buffer_ratio` of their size on every side (C-BIoU, Yang et al. 2023), times the overlap of their unbuffered
    vertical extents over their union to the power `height_power` (Hybrid-SORT, Yang et al. 2024): two people who pass
    each other overlap in the image, but seldom stand and end at the same heights. Of many boxes only
    neighbours are compared, so the work grows with n log n and their number.
    """
    count = first.shape[1]
    reach = _reach(np.concatenate((first, second), axis=1), 0.5 + buffer_ratio)
    one, other = reach[:, :count], reach[:, count:]
    if count * second.shape[1] <= _ALL_WITH_ALL:
        values = _similarity(one[:, :, np.newaxis], other[:, np.newaxis], height_power)
        rows, columns = (values >= least).nonzero()
        return Pairs(rows, columns, values[rows, columns])
    neighbours = _horizontal_neighbours if count * second.shape[1] <= _BISECTED else _grid_neighbours
    rows, columns = neighbours(one, other)
    values = _similarity(one.take(rows, axis=1), other.take(columns, axis=1), height_power)
    kept = (values >= least).nonzero()[0]
    return Pairs(rows[kept], columns[kept], values[kept])


def _similarity(one: Float64Array, other: Float64Array, height_power: float) -> Float64Array:
    """Of boxes given by their reach, (7, ...) each, in shapes that broadcast."""
    inner = np.minimum(one[:_AREA], other[:_AREA])
    overlap = inner[_HIGH]
    overlap += inner[_LOW]
    np.maximum(overlap, _ZERO, out=overlap)
    values: Float64Array = overlap[0] * overlap[1]
    union = one[_AREA] + other[_AREA]
    union -= values
    values /= union
    if height_power > 0:
        # Boxes that are apart span their distance too, but share nothing, so they count 0 all the same.
        outer = np.maximum(one[2:_AREA:3], other[2:_AREA:3])
        spanned = outer[0]
        spanned += outer[1]
        agreement = overlap[2]
        agreement /= spanned
        values *= agreement if height_power == 1.0 else agreement**height_power
    return values


def assign(pairs: Pairs, least: float) -> tuple[Int64Array, Int64Array]:
    """Rows and columns of the one-to-one assignment with the largest total similarity above `least`.

    A pair that gains more than all that compete with it do together is part of every best assignment: what it
    would displace is worth less. Such pairs are taken, and their competitors left out, round by round; the
    Jonker-Volgenant solver settles the knots that remain, so crowds cost little more than single objects.
    """
    rows, columns, values = pairs
    if len(rows) == 1:
        return rows, columns
    gains = values - (least - _LEAST_GAIN)
    taken: list[tuple[Int64Array, Int64Array]] = []
    while len(rows):
        of_row, of_column = np.bincount(rows, gains), np.bincount(columns, gains)
        sure = (_THREE * gains > of_row[rows] + of_column[columns]).nonzero()[0]
        if len(sure) == len(rows):
            taken.append((rows, columns))
            break
        if not len(sure):
            taken.append(_solve(rows, columns, gains))
            break
        sure_rows, sure_columns = rows[sure], columns[sure]
        taken.append((sure_rows, sure_columns))
        of_row[sure_rows] = of_column[sure_columns] = -1.0
        free = (np.minimum(of_row[rows], of_column[columns]) >= _ZERO).nonzero()[0]
        rows, columns, gains = rows[free], columns[free], gains[free]
    if len(taken) == 1:
        return taken[0]
    if not taken:
        return rows, columns
    return np.concatenate([pair[0] for pair in taken]), np.concatenate([pair[1] for pair in taken])


def _solve(rows: Int64Array, columns: Int64Array, gains: Float64Array) -> tuple[Int64Array, Int64Array]:
    """The best assignment of a small problem, by a table of all its rows and columns."""
    some_rows, row_numbers = _renumbered(rows)
    some_columns, column_numbers = _renumbered(columns)
    best = np.zeros((len(some_rows), len(some_columns)))
    np.maximum.at(best, (row_numbers, column_numbers), gains)
    matched, matches = linear_sum_assignment(best, maximize=True)
    real = best[matched, matches] > 0
    return some_rows[matched[real]], some_columns[matches[real]]


def _renumbered(numbers: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The distinct numbers, ascending, and the place of each of `numbers` among them."""
    present = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
    present[numbers] = 1
    places = present.cumsum()
    return present.nonzero()[0], places[numbers] - 1


# What a box covers, one row each: its high ends in x, y (both grown) and y (as it is), the same of its low ends
# negated, so that the smaller of two is the inner one for high and low ends alike, and its grown area.
_HIGH, _LOW, _AREA = slice(0, 3), slice(3, 6), 6
_EDGE, _CORNER = slice(0, 2), slice(3, 5)
_THREE_ROWS = np.array([[1], [2], [3]])
_CENTRES_AND_SIZES = np.array([0, 1, 1, 2, 3, 3, 3])


def _reach(boxes: Float64Array, growth: float) -> Float64Array:
    """(7, n) of boxes (4, n)."""
    reach = np.empty((7, boxes.shape[1]))
    scaled = boxes.take(_CENTRES_AND_SIZES, axis=0)
    scaled *= _scales(growth)
    centre, half = scaled[:3], scaled[3:6]
    np.add(centre, half, out=reach[_HIGH])
    np.subtract(half, centre, out=reach[_LOW])
    np.multiply(half[0], scaled[6], out=reach[_AREA])
    return reach


@lru_cache(maxsize=16)
def _scales(growth: float) -> Float64Array:
    """(7, 1): factors of the rows `_CENTRES_AND_SIZES`.

    Centres stay, sizes become halves (grown twice, and the height as it is), and the height once more four times its
    grown half, which half the grown width makes the grown area.
    """
    return np.array([1.0, 1.0, 1.0, growth, growth, 0.5, 4.0 * growth])[:, np.newaxis]


def _horizontal_neighbours(first: Float64Array, second: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Numbers of the boxes, given by their reach, that may overlap horizontally; none that do are left out."""
    left, other_left = -first[_LOW.start], -second[_LOW.start]
    order = other_left.argsort(kind="stable")
    sorted_left = other_left[order]
    widths = second[_HIGH.start] - other_left
    widest = widths[widths.argmax()]  # in a third of the time of `max`
    starts = sorted_left.searchsorted(left - widest, side="left")
    counts = sorted_left.searchsorted(first[_HIGH.start], side="right")
    counts -= starts
    rows = np.arange(first.shape[1]).repeat(counts)
    starts -= counts.cumsum()
    starts += counts
    places = starts[rows]
    places += np.arange(len(rows))
    return rows, order[places]


def _grid_neighbours(first: Float64Array, second: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Numbers of the boxes, given by their reach, that may overlap; none that do are left out.

    The top left corners of `second` are sorted into the cells of a grid, whose rows are as high as the highest box, so
    that what overlaps a box lies in three of them. Columns are narrow: of each row, all between two of them counts.
    """
    count, others = first.shape[1], second.shape[1]
    origin = second[_CORNER].max(axis=1, keepdims=True)
    corners, starts, ends = origin - second[_CORNER], origin - first[_CORNER], origin + first[_EDGE]
    width, height = corners.max(axis=1).tolist()
    widest, tallest = (second[_EDGE] + second[_CORNER]).max(axis=1).tolist()
    tallest = max(tallest, float((ends[1] - starts[1]).max()), height / others)
    grid_rows = int(height / tallest) + 1
    grid_columns = _CELLS_PER_BOX * others // grid_rows + 1
    cell = np.array([[width / grid_columns or 1.0], [tallest]])
    starts[0] -= widest
    column, row = _whole(corners / cell, [[0], [0]], [[grid_columns - 1], [grid_rows - 1]])
    first_column, middle_row = _whole(starts / cell, [[0], [-1]], [[grid_columns], [grid_rows]])
    last_column = _whole(ends[0] / cell[0], -1, grid_columns - 1)
    # Above and below the grid are two empty rows, for boxes that lie beside it.
    cells = (row + 2) * grid_columns + column
    order = cells.argsort(kind="stable")
    before = np.zeros((grid_rows + 4) * grid_columns + 1, dtype=np.int64)
    np.bincount(cells, minlength=len(before) - 1).cumsum(out=before[1:])
    rows = (middle_row + _THREE_ROWS) * grid_columns
    places = before.take(rows + first_column).ravel()
    counts = before.take(rows + last_column + 1).ravel()
    counts -= places
    asked = np.arange(len(counts)).repeat(counts)
    places -= counts.cumsum()
    places += counts
    places = places.take(asked)
    places += np.arange(len(places))
    asked %= count
    found = order.take(places)
    near = first[_EDGE][1].take(asked) + second[_CORNER][1].take(found) > 0
    near &= first[_CORNER][1].take(asked) + second[_EDGE][1].take(found) > 0
    kept = near.nonzero()[0]
    return asked.take(kept), found.take(kept)


def _whole(values: Float64Array, least: npt.ArrayLike, most: npt.ArrayLike) -> Int64Array:
    return np.minimum(np.maximum(values, least), most).astype(np.int64)
