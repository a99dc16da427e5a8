"""The processes that train one model together, as TensorFlow's TF_CONFIG names them.

A TFJob gives every pod the same list of addresses and its own place in it:
https://www.tensorflow.org/guide/distributed_training, "Setting up the TF_CONFIG environment variable".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.training.share import Share

CHIEF_FIRST = ("chief", "worker")
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


@dataclass(frozen=True, slots=True)
class Place:
    """One process among `addresses` (`host:port` by job), known as task `index` of `job`."""

    addresses: Mapping[str, tuple[str, ...]]
    job: str
    index: int

    @property
    def share(self) -> Share:
        """The chief is 0; without one, the first worker is."""
        before = 0 if self.job == CHIEF_FIRST[0] else len(self.addresses.get(CHIEF_FIRST[0], ()))
        return Share(before + self.index, sum(map(len, self.addresses.values())))


def read_place(tf_config: str | None) -> Place | None:
    """The place that the text of TF_CONFIG gives this process; None where it trains alone.

    Raises InvalidInputError where the text is not what TensorFlow's guide describes.
    """
    if not tf_config or not tf_config.strip():
        return None
    try:
        raw = json.loads(tf_config)
        cluster = {job: tuple(map(str, raw["cluster"].get(job) or ())) for job in CHIEF_FIRST}
        job, index = str(raw["task"]["type"]), int(raw["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"TF_CONFIG: expected JSON with cluster and task, got {tf_config!r}: {error!r}",
            hint="unset it to train in this process alone",
        ) from error
    addresses = {name: hosts for name, hosts in cluster.items() if hosts}
    if not 0 <= index < len(addresses.get(job, ())):
        raise InvalidInputError(f"TF_CONFIG: expected a task of {addresses}, got {job} {index}")
    place = Place(addresses, job, index)
    return place if place.share.count > 1 else None


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

    def require_agreement(self, what: str, data: bytes) -> None:
        """Raise PathcastError where this worker's `data` is not the chief's."""
        if self.broadcast(data if self.is_chief else None) != data:
            raise PathcastError(
                f"worker {self.share.index} of {self.share.count}: its {what} differ from the chief's",
                hint="give all workers the same release, data and options",
            )

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
        self._sum_now = tf.function(self.sum)

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
        length = int(self._sum_now(tf.constant([len(own)], tf.int32))[0])
        # The sum of the chief's bytes and the others' zeros.
        mine = np.resize(own, length) if self.is_chief else np.zeros(length, np.uint8)
        return bytes(self._sum_now(tf.constant(mine, tf.int32)).numpy().astype(np.uint8))

    @contextmanager
    def watch(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            raise WorkerLostError(
                f"worker {self.share.index} of {self.share.count} lost another worker: {_first_line(error)}",
                hint="start all workers again with --resume; they go on from the last checkpoint",
            ) from error


def connect(tf_config: str | None) -> Workers:
    """The workers of a TF_CONFIG text; this process alone where it names no other."""
    place = read_place(tf_config)
    return Workers() if place is None else ConnectedWorkers(place)


def _first_line(error: tf.errors.OpError) -> str:
    lines = str(error.message).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
