"""Training windows made more varied; pure NumPy, random numbers from the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import OBSERVED_STEPS


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How windows are varied, each window by its own draw.

    `mirror` and `reverse` are probabilities (rotation is not needed: the network normalises it). Lengths are
    multiplied by exp(u), u uniform in ±`log_speed`. With probability `noisy`, the observed positions alone
    get Gaussian noise of a standard deviation drawn from [0, `noise`], in metres: what a detector adds.
    `paces`, each above 0: tracks are also played so many times as fast, which `WindowDraw` does for several recordings.
    """

    mirror: float = 0.5
    reverse: float = 0.5
    log_speed: float = 0.2
    noisy: float = 0.5
    noise: float = 0.08
    paces: tuple[float, ...] = (1.4, 1.8)

    def __post_init__(self) -> None:
        if not all(pace > 0 for pace in self.paces):
            raise InvalidInputError(f"augmentation: expected paces above 0, got {self.paces}")

    def __call__(
        self, paths: Float64Array, random: np.random.Generator, rows: Int64Array | None = None
    ) -> Float64Array:
        """New (n, 20, 2) paths, in metres.

        `rows`: those of the paths that are wanted, in their order; each is the same whichever are.
        """
        count = len(paths)
        wanted = np.arange(count) if rows is None else rows
        backwards = (random.random(count) < self.reverse)[wanted]
        mirrored = np.where(random.random(count) < self.mirror, -1.0, 1.0)[wanted]
        factors = np.exp(random.uniform(-self.log_speed, self.log_speed, count))[wanted]
        spread = (random.uniform(0.0, self.noise, count) * (random.random(count) < self.noisy))[wanted]
        trembling = random.standard_normal((count, OBSERVED_STEPS, 2))[wanted]
        given = paths[wanted]
        varied: Float64Array = np.where(backwards[:, None, None], given[:, ::-1], given)
        centre = varied[:, OBSERVED_STEPS - 1 : OBSERVED_STEPS]
        varied = centre + (varied - centre) * np.stack([factors, factors * mirrored], axis=-1)[:, None, :]
        varied[:, :OBSERVED_STEPS] += trembling * spread[:, None, None]
        return varied
