"""Losses of classifiers, on logits."""

from __future__ import annotations

from typing import Any, Literal, get_args

from keras import ops

from pathcast.core.errors import InvalidInputError

Loss = Literal["cross_entropy", "focal"]

_FOCUS = 2.0


def classification_loss(logits: Any, targets: Any, loss: Loss, smoothing: float = 0.0) -> Any:
    """The mean loss of logits (n, c) against targets (n, c), shares of the classes that sum to 1.

    `smoothing` is dealt out evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567). "focal" weighs each
    sample by how far it is from being right, squared (Lin et al. 2017, arXiv:1708.02002).
    """
    if loss not in get_args(Loss) or not 0 <= smoothing < 1:
        raise InvalidInputError(
            f"loss: expected one of {', '.join(get_args(Loss))} and a smoothing in [0, 1), got {loss!r} and {smoothing}"
        )
    smoothed = targets * (1.0 - smoothing) + smoothing / targets.shape[-1]
    log_probabilities = ops.log_softmax(logits, axis=-1)
    if loss == "focal":
        smoothed = smoothed * (1.0 - ops.exp(log_probabilities)) ** _FOCUS
    return -ops.mean(ops.sum(smoothed * log_probabilities, axis=-1))
