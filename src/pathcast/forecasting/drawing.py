"""Which windows a training sees, how often, and how fast they are played."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.forecasting.windows import Windows, concatenate

ENOUGH = 240
"""Windows that a recording must give at another pace to be played at it: fewer are few people over and over.

Chosen on the `val` parts of ETH/UCY. Windows overlap, a step apart, so this counts no people: there it leaves out
biwi_eth (113 and 163 windows of 4 and 8 people) and uni_examples (58 and 172 of 8 and 21); the fewest people that it
lets in are biwi_hotel's 13 (274 windows).
"""


@dataclass(frozen=True, slots=True, eq=False)
class WindowDraw:
    """Windows to draw by `chances` (n,), all above 0, which add up to 1.

    Every recording counts the same, however long it is: a crowded square of an hour would else drown the street
    corner that moves, or is measured, differently.
    """

    windows: Windows
    chances: Float64Array

    @classmethod
    def of(cls, windows: Windows, paces: tuple[float, ...]) -> WindowDraw:
        """Draw from `windows`, and where recordings are several, as often from each of their tracks' other `paces`.

        One recording is a place that is known; several are there to learn for another, whose people may walk faster.
        """
        recordings, sizes = np.unique(windows.recordings, return_counts=True)
        played = [windows.faster(pace) for pace in paces] if len(recordings) > 1 else []
        counts = np.stack([sizes, *((each.recordings[:, None] == recordings).sum(axis=0) for each in played)])
        shares = np.where(counts >= ENOUGH, 1.0, 0.0)
        shares[0] = 1.0
        shares /= shares.sum(axis=0) * len(recordings)
        parts, chances = [], []
        for each, share, count in zip([windows, *played], shares, counts, strict=True):
            place = np.searchsorted(recordings, each.recordings)
            drawn = share[place] > 0
            parts.append(each.select(drawn))
            chances.append((share[place] / count[place])[drawn])
        return cls(concatenate(parts), np.concatenate(chances))

    def __call__(self, count: int, random: np.random.Generator) -> Windows:
        """`count` windows: none twice where all are alike and enough."""
        alike = count <= len(self.windows) and np.ptp(self.chances) == 0
        if alike:
            return self.windows.select(random.permutation(len(self.windows))[:count])
        return self.windows.select(random.choice(len(self.windows), count, p=self.chances))
