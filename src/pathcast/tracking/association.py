"""Which detection belongs to which track: box similarity and one-to-one assignment."""

from __future__ import annotations

from typing import NamedTuple

import lap
import numpy as np

from pathcast.core.arrays import Float64Array, Int64Array

_FORBIDDEN = 1e6


def intersection_over_union(first: Float64Array, second: Float64Array) -> Float64Array:
    """(n, m) IoU of boxes `first` (n, 4) and `second` (m, 4), xyxy; 0 where a box has no area.

    >>> intersection_over_union(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3).tolist()
    [[0.333]]
    """
    overlap = np.minimum(first[:, np.newaxis, 2:], second[:, 2:]) - np.maximum(first[:, np.newaxis, :2], second[:, :2])
    np.maximum(overlap, 0.0, out=overlap)
    intersection: Float64Array = overlap[..., 0] * overlap[..., 1]
    union = _area(first)[:, np.newaxis] + _area(second) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


class Pairs(NamedTuple):
    """Possible matches: parallel arrays (k,) of row, column and similarity; a pair may stand more than once."""

    rows: Int64Array
    columns: Int64Array
    values: Float64Array


def similar_pairs(
    first: Float64Array, second: Float64Array, buffer_ratio: float, height_power: float, least: float
) -> Pairs:
    """The pairs of boxes `first` (n, 4) and `second` (m, 4) that are at least `least` > 0 similar.

    Similarity is the IoU of the boxes grown by `buffer_ratio` of their size on every side (C-BIoU, Yang et al.
    2023), times the overlap of their unbuffered vertical extents over their union to the power `height_power`
    (Hybrid-SORT, Yang et al. 2024): two people who pass each other overlap in the image, but seldom stand and
    end at the same heights. Only boxes that overlap horizontally are looked at, found by bisection.
    """
    wide, other = buffered(first, buffer_ratio), buffered(second, buffer_ratio)
    rows, columns = _horizontal_neighbours(wide, other)
    one, two = wide[rows], other[columns]
    overlap = np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])
    near = np.flatnonzero((overlap > 0).all(axis=1))
    rows, columns, overlap = rows[near], columns[near], overlap[near]
    intersection = overlap[:, 0] * overlap[:, 1]
    values = intersection / (_area(wide)[rows] + _area(other)[columns] - intersection)
    if height_power > 0:
        values *= _height_agreement(first[rows], second[columns]) ** height_power
    good = np.flatnonzero(values >= least)
    return Pairs(rows[good], columns[good], values[good])


def buffered(xyxy: Float64Array, ratio: float) -> Float64Array:
    """Boxes grown by `ratio` of their width and height on every side."""
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * ratio
    return np.concatenate((xyxy[:, :2] - margin, xyxy[:, 2:] + margin), axis=1)


def assign(pairs: Pairs, least: float) -> tuple[Int64Array, Int64Array]:
    """Rows and columns of the one-to-one assignment with the largest total similarity above `least`.

    Pairs that compete with no other are taken as they are; the Jonker-Volgenant solver settles the others.
    """
    rows, columns, values = pairs
    if not len(rows):
        return rows, columns
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    contested = np.flatnonzero(~alone)
    some_rows, row_numbers = np.unique(rows[contested], return_inverse=True)
    some_columns, column_numbers = np.unique(columns[contested], return_inverse=True)
    best = np.zeros((len(some_rows), len(some_columns)))
    np.maximum.at(best, (row_numbers, column_numbers), values[contested])
    cost = np.where(best > 0, 1.0 - best, _FORBIDDEN)
    taken = np.asarray(lap.lapjv(cost, extend_cost=True, cost_limit=1.0 - least + 1e-9, return_cost=False)[0])
    matched = np.flatnonzero(taken >= 0)
    return (
        np.concatenate((rows[alone], some_rows[matched])),
        np.concatenate((columns[alone], some_columns[taken[matched]])),
    )


def _horizontal_neighbours(first: Float64Array, second: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Rows of `first` and `second` whose horizontal extents may overlap; none that do are left out."""
    order = np.argsort(second[:, 0], kind="stable")
    left = second[order, 0]
    widest = (second[:, 2] - second[:, 0]).max(initial=0.0)
    starts = np.searchsorted(left, first[:, 0] - widest, side="left")
    counts = np.searchsorted(left, first[:, 2], side="right") - starts
    rows = np.repeat(np.arange(len(first)), counts)
    ends = np.cumsum(counts)
    places = np.arange(len(rows)) + np.repeat(starts - ends + counts, counts)
    return rows, order[places]


def _height_agreement(first: Float64Array, second: Float64Array) -> Float64Array:
    """(k,) shared over spanned vertical extent of boxes paired row by row."""
    shared = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1])
    spanned = np.maximum(first[:, 3], second[:, 3]) - np.minimum(first[:, 1], second[:, 1])
    agreement: Float64Array = np.divide(np.maximum(shared, 0.0), spanned, out=np.zeros_like(shared), where=spanned > 0)
    return agreement


def _area(xyxy: Float64Array) -> Float64Array:
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0.0)
    area: Float64Array = size[:, 0] * size[:, 1]
    return area
