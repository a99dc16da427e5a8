"""How the balance of the classes decides loss, sampling, metric and warm-up.

| largest class / smallest | loss | draws of a class | metric | warm-up |
|---|---|---|---|---|
| up to 1.5: balanced | cross entropy | its samples | accuracy | 5% |
| up to 20: uneven | cross entropy | the root of its samples | balanced accuracy | 5% |
| above: rare classes | focal | the root of its samples | macro F1 | 10% |

Even classes need no correction. Uneven ones are drawn more evenly, and judged by class, or the small would not count.
Where some are rare, their few samples are repeated often: the focal loss then keeps the easy many from drowning them,
and the longer warm-up keeps the first repeats from being learned by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pathcast.core.errors import InvalidInputError

BALANCED, UNEVEN = 1.5, 20.0

Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]


@dataclass(frozen=True, slots=True)
class Choices:
    """What follows from the balance; `balance` is the power of a class's samples by which it is drawn."""

    imbalance: float
    loss: Literal["cross_entropy", "focal"]
    balance: float
    metric: Metric
    warmup: float

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for the data card."""
        return asdict(self)


def choose(counts: Mapping[str, int]) -> Choices:
    """What to do about classes with so many training samples each; classes without any are not counted.

    >>> choose({"fight": 90, "no fight": 92}).metric
    'accuracy'
    """
    present = [count for count in counts.values() if count > 0]
    if len(present) < 2:
        raise InvalidInputError(f"classes: expected samples of two or more, got {dict(counts)}")
    imbalance = max(present) / min(present)
    if imbalance <= BALANCED:
        return Choices(imbalance, "cross_entropy", 1.0, "accuracy", 0.05)
    if imbalance <= UNEVEN:
        return Choices(imbalance, "cross_entropy", 0.5, "balanced_accuracy", 0.05)
    return Choices(imbalance, "focal", 0.5, "macro_f1", 0.1)
