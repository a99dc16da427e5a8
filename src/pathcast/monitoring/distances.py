"""How far a window is from its reference, as effect sizes.

Frames that follow each other are much alike, so tests that take samples for independent find any two stretches of
video different; a p-value would say how many frames there were. These distances do not grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathcast.monitoring.definition import Samples


@dataclass(frozen=True, slots=True)
class Shift:
    """Wasserstein's distance in standard deviations of the reference: by how much values moved, on the whole.

    It is Evidently's "Wasserstein distance (normed)", with which the report shows it, but for one thing: where the
    reference varies less than `least_spread`, in the signal's unit, that takes its place. A lamp that hardly
    flickers would else alarm at every flicker.
    """

    least_spread: float

    def __call__(self, reference: Samples, current: Samples) -> float:
        from scipy.stats import wasserstein_distance

        return float(wasserstein_distance(reference.value, current.value)) / self.spread(reference)

    def spread(self, reference: Samples) -> float:
        """What a distance of 1 is, in the signal's unit."""
        return max(float(reference.value.std()), self.least_spread)


def growth(reference: Samples, current: Samples) -> float:
    """By how much the current mean is above the reference's, as a part of that: 0.6 is 60% more."""
    before, now = reference.mean(), current.mean()
    return (now - before) / before if before > 0 else float("inf") if now > 0 else 0.0


def level(_reference: Samples, current: Samples) -> float:
    """The current weighted mean itself, for what has a fixed point of comparison."""
    return current.mean()


def mixture(reference: Samples, current: Samples) -> float:
    """Total variation of classes, in [0, 1]: the part of the samples that is of another class than before."""
    classes = np.union1d(reference.value, current.value)
    shares = [
        np.array([each.weight[each.value == label].sum() for label in classes]) / each.weight.sum()
        for each in (reference, current)
    ]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def turn(reference: Samples, current: Samples) -> float:
    """One less the cosine of the mean vectors, in [0, 2]: 0 where they point the same way."""
    before, now = reference.value.mean(axis=0), current.value.mean(axis=0)
    return float(1 - before @ now / max(float(np.linalg.norm(before) * np.linalg.norm(now)), 1e-12))
