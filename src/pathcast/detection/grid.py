"""The detector's cells: one candidate box each, at three scales."""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.detection.settings import STRIDES


def grid(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """Cell corners (a, 2) as x, y in cells, and strides (a,) in pixels, in the order of YOLOX's output rows."""
    corners, strides = [], []
    for stride in STRIDES:
        ys, xs = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([xs.ravel(), ys.ravel()], axis=1))
        strides.append(np.full(xs.size, stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)
