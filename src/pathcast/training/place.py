"""Where a process stands among those that train together, as TensorFlow's TF_CONFIG tells it.

A TFJob gives every pod the same list of addresses and its own place in it:
https://www.tensorflow.org/guide/distributed_training, "Setting up the TF_CONFIG environment variable".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pathcast.core.errors import InvalidInputError
from pathcast.training.share import Share

VARIABLE = "TF_CONFIG"
CHIEF_FIRST = ("chief", "worker")


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
