"""How long and how fast a network learns."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pathcast.core.errors import InvalidInputError

Precision = Literal["float32", "bfloat16", "float16"]
Normalisation = Literal["own", "all"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The optimiser is AdamW with decoupled weight decay and the gradient's global norm clipped.

    The learning rate rises linearly over the first `warmup` share of all steps and then falls as a cosine to
    zero. `ema` is the decay per step of the averaged weights, which are what is validated and kept. Training
    stops early after `patience` epochs without a better validation score.

    `batch_size` counts the samples of all workers together. Each worker computes its part in `accumulate` pieces,
    one after another, which saves memory and changes nothing but what compares a piece's rows: batch normalisation
    and the detector's looks. `precision` is that of the arithmetic; weights are float32 always, and float16 goes with
    a loss scale that adapts itself. `checkpoint_steps`: steps between checkpoints within an epoch, 0 for one at the
    end of each epoch alone. `normalisation`: a batch normalisation takes its statistics over each worker's own rows,
    or over all, which makes N workers' result that of one and costs an exchange a layer.
    """

    epochs: int = 60
    batch_size: int = 256
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    warmup: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.998
    patience: int = 20
    seed: int = 1
    accumulate: int = 1
    precision: Precision = "float32"
    checkpoint_steps: int = 0
    normalisation: Normalisation = "own"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.patience, self.accumulate) < 1:
            raise InvalidInputError(
                f"training: expected epochs, batch_size, patience and accumulate of 1 or more, got {self}"
            )
        if self.precision not in get_args(Precision) or self.checkpoint_steps < 0 or self.seed < 0:
            raise InvalidInputError(
                f"training: expected precision {', '.join(get_args(Precision))}, checkpoint_steps and seed of 0 or "
                f"more, got {self}"
            )
        if self.normalisation not in get_args(Normalisation):
            raise InvalidInputError(f"training: expected normalisation own or all, got {self.normalisation!r}")
        if not (self.learning_rate > 0 and self.clip_norm > 0 and 0 <= self.ema < 1 and 0 <= self.warmup < 1):
            raise InvalidInputError(
                f"training: expected learning_rate and clip_norm above 0, ema and warmup in [0, 1), got {self}"
            )

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`.

        >>> TrainingSettings(learning_rate=1.0, warmup=0.5).learning_rate_at(5, 10)
        1.0
        """
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))

    def as_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
