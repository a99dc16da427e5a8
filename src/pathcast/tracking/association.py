"""Which detection belongs to which track: box similarity and one-to-one assignment."""

from __future__ import annotations

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


def height_agreement(first: Float64Array, second: Float64Array) -> Float64Array:
    """(n, m) overlap of the boxes' vertical extents over their union, 0 … 1 (Hybrid-SORT, Yang et al. 2024).

    Two people who pass each other overlap in the image, but seldom stand and end at the same heights.
    """
    top, bottom = first[:, np.newaxis, 1], first[:, np.newaxis, 3]
    shared = np.minimum(bottom, second[:, 3]) - np.maximum(top, second[:, 1])
    spanned = np.maximum(bottom, second[:, 3]) - np.minimum(top, second[:, 1])
    agreement: Float64Array = np.divide(np.maximum(shared, 0.0), spanned, out=np.zeros_like(shared), where=spanned > 0)
    return agreement


def buffered(xyxy: Float64Array, ratio: float) -> Float64Array:
    """Boxes grown by `ratio` of their width and height on every side (C-BIoU, Yang et al. 2023)."""
    margin = (xyxy[:, 2:] - xyxy[:, :2]) * ratio
    return np.concatenate((xyxy[:, :2] - margin, xyxy[:, 2:] + margin), axis=1)


def similarity(
    tracks: Float64Array, detections: Float64Array, buffer_ratio: float, height_power: float
) -> Float64Array:
    """(n, m) buffered IoU weighted by how well the heights agree."""
    value = intersection_over_union(buffered(tracks, buffer_ratio), buffered(detections, buffer_ratio))
    if height_power > 0:
        value *= height_agreement(tracks, detections) ** height_power
    return value


def assign(value: Float64Array, least: float) -> tuple[Int64Array, Int64Array]:
    """Rows and columns of the one-to-one assignment with the largest total similarity.

    Pairs below `least` are never joined. Rows ascend.
    """
    nothing = np.empty(0, dtype=np.int64)
    if value.size == 0 or not (value >= least).any():
        return nothing, nothing
    cost = np.where(value >= least, 1.0 - value, _FORBIDDEN)
    columns = np.asarray(lap.lapjv(cost, extend_cost=True, cost_limit=1.0 - least + 1e-9, return_cost=False)[0])
    rows = np.flatnonzero(columns >= 0)
    return rows.astype(np.int64), columns[rows].astype(np.int64)


def _area(xyxy: Float64Array) -> Float64Array:
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0.0)
    area: Float64Array = size[:, 0] * size[:, 1]
    return area
