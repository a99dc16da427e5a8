"""How much boxes overlap."""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float64Array


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


def _area(xyxy: Float64Array) -> Float64Array:
    size = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0.0)
    area: Float64Array = size[:, 0] * size[:, 1]
    return area
