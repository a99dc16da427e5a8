"""The processes that train one model together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import tensorflow as tf

from pathcast.core.arrays import Float64Array
from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.training.place import Place
from pathcast.training.share import Share

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class WorkerLostError(ServiceUnavailableError):
    """Another worker is gone; a start of all workers goes on from the last checkpoint."""


class Workers:
    """The process among those that train together; this class itself is for one that trains alone."""

    def __init__(self, share: Share | None = None) -> None:
        self.share = share or Share()

    @property
    def is_chief(self) -> bool:
        """Whether this process validates, writes and reports for all."""
        return self.share.index == 0

    def sum(self, values: Any) -> Any:
        """The sum of a tensor over all workers; all must call it in the same order."""
        return values

    def broadcast(self, data: bytes | None) -> bytes:
        """What the chief gives, on every worker."""
        if data is None:
            raise ValueError("the chief must give what it broadcasts")
        return data

    def gather(self, rows: Float64Array) -> Float64Array:
        """All workers' (n, k) rows below one another, in the order of the workers; n may differ, k not."""
        return rows

    def require_agreement(self, what: str, data: bytes) -> None:
        """Raise PathcastError where this worker's `data` is not the chief's."""
        if self.broadcast(data if self.is_chief else None) != data:
            raise PathcastError(
                f"worker {self.share.index} of {self.share.count}: its {what} differ from the chief's",
                hint="give all workers the same release, data and options",
            )

    def leave_together(self) -> None:
        """Wait until all are here. Then every worker may end, and none still needs another."""
        return

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Turn TensorFlow's errors of a lost peer into WorkerLostError."""
        yield


class ConnectedWorkers(Workers):
    """Several processes under MultiWorkerMirroredStrategy, which sums tensors around a ring.

    The variables are each process's own: all start from the same values and take the same steps, so nothing but
    gradients needs to travel. Creating it waits for the others; it must come before any other use of TensorFlow.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(place.share)
        distribute = tf.distribute
        self._options = distribute.experimental.CommunicationOptions(
            implementation=distribute.experimental.CommunicationImplementation.RING
        )
        resolver = distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({job: list(hosts) for job, hosts in place.addresses.items()}),
            task_type=place.job,
            task_id=place.index,
            rpc_layer="grpc",
        )
        with self.watch():
            self._strategy = distribute.MultiWorkerMirroredStrategy(resolver, self._options)
        # One trace for whole numbers of any count.
        self._sum_whole = tf.function(self.sum, input_signature=[tf.TensorSpec((None,), tf.int32)])

    def sum(self, values: Any) -> Any:
        def reduce(own: Any) -> Any:
            # The copy has a device, which the strategy asks for.
            return tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, tf.identity(own), options=self._options
            )

        return self._strategy.run(reduce, args=(values,))

    def broadcast(self, data: bytes | None) -> bytes:
        own = np.zeros(0, np.uint8)
        if self.is_chief:
            own = np.frombuffer(Workers.broadcast(self, data), np.uint8)
        length = int(self._sum_whole(tf.constant([len(own)], tf.int32))[0])
        # The ring crashes on a sum of nothing.
        if length == 0:
            return b""
        # The sum of the chief's bytes and the others' zeros.
        mine = np.resize(own, length) if self.is_chief else np.zeros(length, np.uint8)
        return bytes(self._sum_whole(tf.constant(mine, tf.int32)).numpy().astype(np.uint8))

    def gather(self, rows: Float64Array) -> Float64Array:
        counts = np.zeros(self.share.count, np.int32)
        counts[self.share.index] = len(rows)
        ends = self._sum_whole(tf.constant(counts)).numpy().cumsum()
        # The ring crashes on a sum of nothing.
        if ends[-1] * rows.shape[1] == 0:
            return np.zeros((int(ends[-1]), rows.shape[1]))
        everything = np.zeros((int(ends[-1]), rows.shape[1]))
        everything[ends[self.share.index] - len(rows) : ends[self.share.index]] = rows
        # As whole numbers: each is a worker's own bits and the others' zeros.
        words = self._sum_whole(tf.constant(everything.reshape(-1).view(np.int32)))
        return np.asarray(words.numpy().view(np.float64).reshape(everything.shape))

    def leave_together(self) -> None:
        here = tf.constant([1], tf.int32)
        with self.watch():
            self._sum_whole(here)
        # Who has the first sum may still owe a part of it to another. Who has the second, or finds others gone in
        # it, knows that all have the first.
        with suppress(*_LOST):
            self._sum_whole(here)

    @contextmanager
    def watch(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            raise WorkerLostError(
                f"worker {self.share.index} of {self.share.count}: lost {_who(str(error.message))} "
                f"({type(error).__name__})",
                hint="see the lost worker's log; start all workers again with --resume",
            ) from error


def connect(place: Place | None) -> Workers:
    """The workers among which this process has `place`; this process alone without one."""
    return Workers() if place is None else ConnectedWorkers(place)


def _who(message: str) -> str:
    """Which of them, as TensorFlow's message tells it."""
    found = re.search(r"/job:(\w+)/replica:\d+/task:(\d+)", message)
    return "another worker" if found is None else f"the one known as {found[1]} {found[2]}"
