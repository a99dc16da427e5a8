"""Made-up walks, where real ones are not at hand."""

from __future__ import annotations

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.trajectory import OBSERVED_STEPS
from pathcast.forecasting.neighbours import nearest_others


def random_walks(count: int, seed: int) -> dict[str, Float32Array]:
    """Made-up inputs of a forecaster by name: `count` people who walk, turn and stand within 15 m, all at once."""
    random = np.random.default_rng(seed)
    speed = random.uniform(0.0, 0.8, (count, 1)) * (random.random((count, 1)) > 0.1)
    heading = random.uniform(-np.pi, np.pi, (count, 1)) + np.cumsum(random.normal(0, 0.1, (count, OBSERVED_STEPS)), 1)
    steps = speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    walks = random.uniform(-15, 15, (count, 1, 2)) + np.cumsum(steps, axis=1)
    neighbours = nearest_others(walks[:, -1], walks[:, -1] - walks[:, -2])
    return {"observed": walks.astype(np.float32), "neighbours": neighbours.astype(np.float32)}
