"""Training windows made more varied; pure NumPy, random numbers from the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.core.trajectory import OBSERVED_STEPS


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How windows are varied, each window by its own draw.

    `mirror` and `reverse` are probabilities (rotation is not needed: the network normalises it). Lengths are
    multiplied by exp(u), u uniform in ±`log_speed`. With probability `noisy`, the observed positions alone
    get Gaussian noise of a standard deviation drawn from [0, `noise`], in data units: what a detector adds.
    `paces`: tracks are also played so many times as fast, which `WindowDraw` does for several recordings.
    """

    mirror: float = 0.5
    reverse: float = 0.5
    log_speed: float = 0.2
    noisy: float = 0.5
    noise: float = 0.08
    paces: tuple[float, ...] = (1.4, 1.8)

    def __call__(self, paths: Float64Array, random: np.random.Generator) -> Float64Array:
        """New (n, 20, 2) paths."""
        count = len(paths)
        varied: Float64Array = np.where((random.random(count) < self.reverse)[:, None, None], paths[:, ::-1], paths)
        mirrored = np.where(random.random(count) < self.mirror, -1.0, 1.0)
        factors = np.exp(random.uniform(-self.log_speed, self.log_speed, count))
        centre = varied[:, OBSERVED_STEPS - 1 : OBSERVED_STEPS]
        varied = centre + (varied - centre) * np.stack([factors, factors * mirrored], axis=-1)[:, None, :]
        spread = random.uniform(0.0, self.noise, count) * (random.random(count) < self.noisy)
        varied[:, :OBSERVED_STEPS] += random.standard_normal((count, OBSERVED_STEPS, 2)) * spread[:, None, None]
        return varied
