"""Training windows made more varied; random numbers from the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathcast.core.arrays import Int64Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import OBSERVED_STEPS
from pathcast.forecasting.neighbours import NEIGHBOURS, moved, scaled
from pathcast.forecasting.windows import Windows


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How windows are varied, each window by its own draw, its neighbours with it.

    `mirror` and `reverse` are probabilities (rotation is not needed: the network normalises it). Lengths are
    multiplied by exp(u), u uniform in ±`log_speed`. With probability `noisy`, all positions that the network sees
    get Gaussian noise of a standard deviation drawn from [0, `noise`], in metres: what a detector adds.
    `paces`, 1 or more each: tracks are also played so many times as fast, which `WindowDraw` does for several
    recordings.
    """

    mirror: float = 0.5
    reverse: float = 0.5
    log_speed: float = 0.2
    noisy: float = 0.5
    noise: float = 0.08
    paces: tuple[float, ...] = (1.4, 1.8)

    def __post_init__(self) -> None:
        if not all(pace >= 1 for pace in self.paces):
            raise InvalidInputError(f"augmentation: expected paces of 1 or more, got {self.paces}")

    def __call__(self, windows: Windows, random: np.random.Generator, rows: Int64Array | None = None) -> Windows:
        """The `windows`, in metres, varied; each moved so that its last observed position was the origin before.

        `rows`: those of the windows that are wanted, in their order; each is the same whichever are.
        """
        count = len(windows)
        wanted = np.arange(count) if rows is None else rows
        backwards = (random.random(count) < self.reverse)[wanted]
        mirrored = np.where(random.random(count) < self.mirror, -1.0, 1.0)[wanted]
        factors = np.exp(random.uniform(-self.log_speed, self.log_speed, count))[wanted]
        spread = (random.uniform(0.0, self.noise, count) * (random.random(count) < self.noisy))[wanted]
        trembling = random.standard_normal((count, OBSERVED_STEPS, 2))[wanted]
        others_trembling = random.standard_normal((2, count, NEIGHBOURS, 2))[:, wanted]
        given = windows.select(wanted)
        along = np.stack([factors, factors * mirrored], axis=-1)
        paths = np.where(backwards[:, None, None], given.paths[:, ::-1], given.paths)
        neighbours = np.where(backwards[:, None, None], given.neighbours_backwards, given.neighbours)
        origin = paths[:, OBSERVED_STEPS - 1]
        paths = (paths - origin[:, None]) * along[:, None]
        neighbours = scaled(moved(neighbours, -origin), along)
        paths[:, :OBSERVED_STEPS] += trembling * spread[:, None, None]
        now, before = others_trembling * spread[:, None, None] * neighbours[..., 4:]
        neighbours[..., :4] += np.concatenate([now, now - before], axis=-1)
        return Windows(paths, given.tracks, given.units, given.recordings, neighbours)
