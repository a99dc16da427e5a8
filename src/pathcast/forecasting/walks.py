"""Made-up walks, where real ones are not at hand."""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.trajectory import OBSERVED_STEPS


def random_walks(count: int, seed: int) -> Float32Array:
    """(count, 8, 2) made-up observations in metres: people who walk, turn and stand within 15 m of the origin."""
    random = np.random.default_rng(seed)
    speed = random.uniform(0.0, 0.8, (count, 1)) * (random.random((count, 1)) > 0.1)
    heading = random.uniform(-np.pi, np.pi, (count, 1)) + np.cumsum(random.normal(0, 0.1, (count, OBSERVED_STEPS)), 1)
    steps = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    walks = random.uniform(-15, 15, (count, 1, 2)) + np.cumsum(steps, axis=1)
    return np.asarray(walks, np.float32)
