"""Clips that were cut from one recording: they show the same background, and must not be on both sides of a split."""

from __future__ import annotations

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array

SIMILARITY = 0.9
"""Correlation of two backgrounds from which they are taken for one: it joined the cameras of the fights set and no
two that differ, seen by eye on pairs from .75 to .98."""

_SIDE = 28
_FRAMES = 7


def background(frames: UInt8Array) -> Float32Array:
    """What does not move in the frames (n, h, w, 3), as a vector of length 1 whose values sum to 0."""
    chosen = frames[np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype(int)]
    still = np.median(chosen.astype(np.float32).mean(axis=3), axis=0).astype(np.float32)
    vector = cv2.resize(still, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).reshape(-1)
    vector = vector - vector.mean()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


def one_source(backgrounds: Float32Array, similarity: float = SIMILARITY) -> list[int]:
    """For each background (n, d) the number of its source; alike ones, also by way of others, have the same.

    >>> one_source(np.array([[1, 0], [0, 1], [0.99, 0.14]], np.float32))
    [0, 1, 0]
    """
    source = np.arange(len(backgrounds))
    for index, row in enumerate(backgrounds):
        alike = np.flatnonzero(backgrounds[:index] @ row >= similarity)
        joined = np.isin(source, source[alike])
        source[joined | (np.arange(len(source)) == index)] = min(source[alike], default=index)
    return [int(number) for number in source]
