"""What the forecaster minimises, in `keras.ops` only."""

from __future__ import annotations

from typing import Any

from keras import ops

_TINY = 1e-8


def forecast_loss(
    paths: Any,
    log_probs: Any,
    future: Any,
    scale: Any,
    *,
    temperature: Any,
    end_weight: float = 0.5,
    best_guess_weight: float = 1.0,
    classification_weight: float = 0.2,
) -> Any:
    """Mean loss of (n, M, 12, 2) `paths` with (n, M) `log_probs` against the (n, 12, 2) `future`.

    The error of a path is its mean displacement error plus `end_weight` times the last, divided by `scale`
    (n, 1), a length per window, so that fast and slow walkers weigh alike. Three terms. The best guess, mode 0,
    minimises its error: the spatial median, which is what ADE asks of a single path. The modes compete for what came
    by annealed winner-takes-all (Perera et al. 2024): each but mode 0 learns in proportion to softmax(-error /
    `temperature`); a high temperature teaches all, zero only the winner. The probabilities learn the winner by
    cross-entropy.
    """
    distances = ops.sqrt(ops.sum(ops.square(paths - future[:, None]), axis=-1) + _TINY)
    errors = (ops.mean(distances, axis=-1) + end_weight * distances[:, :, -1]) / scale
    shares = ops.stop_gradient(ops.softmax(-errors / ops.maximum(temperature, 1e-3), axis=-1))
    others = ops.concatenate([ops.stop_gradient(errors[:, :1]), errors[:, 1:]], axis=-1)
    competition = ops.sum(shares * others, axis=-1)
    winner = ops.one_hot(ops.argmin(errors, axis=-1), errors.shape[1])
    classification = -ops.sum(ops.stop_gradient(winner) * log_probs, axis=-1)
    return ops.mean(competition + best_guess_weight * errors[:, 0] + classification_weight * classification)
