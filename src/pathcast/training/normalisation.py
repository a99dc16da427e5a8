"""Batch normalisation that does not know how many workers there are."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from pathcast.training.workers import Workers


class SharedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Normalises by the rows of all workers, forwards and backwards (Peng et al., MegDet, 2018, arXiv:1711.07240)."""

    workers: Workers

    def _moments(self, inputs: Any, mask: Any) -> Any:
        mean, variance = super()._moments(inputs, mask)
        # Parts of equal size: the variance of all is the mean of theirs and the variance of their means.
        own = tf.stack([mean, variance, tf.square(mean)])
        mean, variance, square = tf.unstack(self._summed(own) / self.workers.share.count)
        return mean, variance + tf.maximum(square - tf.square(mean), 0.0)

    def _summed(self, values: Any) -> Any:
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(own: Any) -> Any:
            # Every worker's loss hangs on every worker's part.
            return self.workers.sum(own), lambda upstream: self.workers.sum(upstream)

        return summed(values)


def share_normalisation(model: keras.Model, workers: Workers) -> None:
    """Make the network's batch normalisation take its statistics over the rows of all workers.

    With one piece a step, N workers then do exactly what one does; each layer adds an exchange to the step, forwards
    and backwards.
    """
    for layer in model._flatten_layers(include_self=False):
        if type(layer) is keras.layers.BatchNormalization:
            # The layer is one of a finished graph: its kind is changed in place, its state and name stay.
            layer.__class__ = SharedBatchNormalization
            layer.workers = workers
