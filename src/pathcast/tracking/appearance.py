"""What tracks look like: one unit vector each, zeros where nothing is known."""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float32Array, Float64Array, Int64Array
from pathcast.tracking.association import Pairs
from pathcast.tracking.settings import AppearanceSettings


def unit(vectors: Float32Array) -> Float32Array:
    """Rows (n, d) of length one; rows without a length, or without a finite one, are zeros."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    scaled: Float32Array = np.divide(
        vectors, lengths, out=np.zeros_like(vectors), where=(lengths > 0) & np.isfinite(lengths)
    )
    return scaled


def blended(looks: Float32Array, seen: Float32Array, momentum: float) -> Float32Array:
    """The tracks' vectors after they were seen as `seen`, both (n, d); what was not known is taken as it is."""
    unknown = ~looks.any(axis=1, keepdims=True)
    share = np.where(unknown, np.float32(0.0), np.float32(momentum))
    mixed = unit(share * looks + (np.float32(1.0) - share) * seen)
    # A detection without a vector says nothing.
    return np.where(seen.any(axis=1, keepdims=True), mixed, looks)


def weighed(pairs: Pairs, looks: Float32Array, seen: Float32Array, least: float, settings: AppearanceSettings) -> Pairs:
    """`pairs` with appearance as part of their similarity, those that look too different left out.

    `looks` and `seen` are the vectors of the rows and of the columns. A pair that lacks one keeps its similarity;
    none falls below `least`, since by place they are similar enough.
    """
    first, second = looks[pairs.rows], seen[pairs.columns]
    known = first.any(axis=1) & second.any(axis=1)
    cosines: Float64Array = np.einsum("ij,ij->i", first, second).astype(np.float64)
    alike = np.clip((cosines - settings.least_cosine) / (1.0 - settings.least_cosine), 0.0, 1.0)
    mixed = (1.0 - settings.weight) * pairs.values + settings.weight * (least + (1.0 - least) * alike)
    values = np.where(known, mixed, pairs.values)
    return Pairs(pairs.rows, pairs.columns, values).select(~known | (cosines >= settings.least_cosine))


def recalled(
    looks: Float32Array,
    last: Float64Array,
    unseen_s: Float64Array,
    seen: Float32Array,
    boxes: Float64Array,
    settings: AppearanceSettings,
) -> Pairs:
    """Lost tracks and detections that look the same, where the object may have got to; similarity is the cosine.

    `looks` (n, d) and `last` (4, n), where the tracks were last seen `unseen_s` (n,) ago; `seen` (m, d) and
    `boxes` (4, m).
    """
    reach = (settings.reach + settings.reach_per_s * unseen_s) * last[3]
    across = boxes[0] - last[0][:, np.newaxis]
    down = boxes[1] - last[1][:, np.newaxis]
    rows, columns = (across**2 + down**2 <= reach[:, np.newaxis] ** 2).nonzero()
    cosines: Float64Array = np.einsum("ij,ij->i", looks[rows], seen[columns]).astype(np.float64)
    kept: Int64Array = (cosines >= settings.recall_cosine).nonzero()[0]
    return Pairs(rows[kept], columns[kept], cosines[kept])
