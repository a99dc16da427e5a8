"""What the object in a box looks like, read from a map by parts of the body.

Position-sensitive pooling (Dai et al., R-FCN, 2016, arXiv:1605.06409) over upper, middle and lower part, as in
re-identification by parts (Sun et al., PCB, 2018, arXiv:1711.09349): every part has channels of its own, so that
trousers are compared with trousers. The map is interpolated between cells, at a few points of each part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from pathcast.detection.settings import STRIDES

PARTS = 3
_STRIDE = STRIDES[0]
_ROWS = (np.arange(2 * PARTS, dtype=np.float32) + 0.5) / (2 * PARTS)
_COLUMNS = np.array([0.35, 0.65], np.float32)
"""Where a box is read, as shares of its height and width: two rows a part, off the edges, where the background is."""


def pooled_looks(looks: Any, boxes: Any) -> Any:
    """(n, k, d) vectors of length 1 of `boxes` (n, k, 4), xyxy in input pixels, from the map (n, h, w, PARTS x d)."""
    _, height, width, channels = looks.shape
    size = channels // PARTS
    left, top, right, bottom = (boxes[..., side, None, None] for side in range(4))
    column, column_share = _cells(left + (right - left) * _COLUMNS[None, :], width)
    row, row_share = _cells(top + (bottom - top) * _ROWS[:, None], height)
    # One row of the flat map is one part's vector of one cell.
    flat = ops.reshape(looks, (-1, size))
    image = ops.arange(ops.shape(looks)[0], dtype="int32")[:, None, None, None]
    part = np.repeat(np.arange(PARTS, dtype=np.int32), 2)[:, None]
    total: Any = 0.0
    for down in (0, 1):
        for across in (0, 1):
            at = ((image * height + row + down) * width + column + across) * PARTS + part
            weight = (row_share if down else 1.0 - row_share) * (column_share if across else 1.0 - column_share)
            total = total + ops.sum(ops.take(flat, at, axis=0) * weight[..., None], axis=(2, 3))
    return ops.normalize(total, axis=-1)


def _cells(places: Any, count: int) -> tuple[Any, Any]:
    """The cell whose middle lies before each place in pixels, and the share of the next one."""
    cells = ops.clip(places / _STRIDE - 0.5, 0.0, count - 1.001)
    before = ops.floor(cells)
    return ops.cast(before, "int32"), cells - before
