"""Starts a training command as one of several workers: `python -m pathcast.training.cluster_worker COMMAND…`.

TensorFlow learns of the other workers from TF_CONFIG. The Training Operator's TFJob sets it; Kubeflow Trainer's
TrainJob does not know TensorFlow and sets JAX_NUM_PROCESSES, JAX_PROCESS_ID and JAX_COORDINATOR_ADDRESS (its runtime
has the jax policy). Either way the command finds the same TF_CONFIG, so one container serves both operators.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping

from pathcast.core.errors import InvalidInputError, PathcastError

PORT = 2222
"""Where every worker listens; TFJob's default."""

# Trainer names node 0 `JOB-node-0-0.JOB`: replicated job, its index, the pod's index, the headless Service.
_FIRST_NODE = re.compile(r"(?P<before>.+)-0(?P<service>\.[^:]+)(:\d+)?")


def tf_config(environment: Mapping[str, str]) -> str | None:
    """TF_CONFIG for this process; None where it is one alone.

    Raises InvalidInputError where the trainer's variables do not fit each other.

    >>> tf_config({"JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0", "JAX_COORDINATOR_ADDRESS": "a-node-0-0.a:1"})
    """
    if "TF_CONFIG" in environment or "JAX_NUM_PROCESSES" not in environment:
        return environment.get("TF_CONFIG")
    given = {name: environment.get(name) for name in _VARIABLES}
    first = _FIRST_NODE.fullmatch(given["JAX_COORDINATOR_ADDRESS"] or "")
    try:
        count, index = int(given["JAX_NUM_PROCESSES"] or ""), int(given["JAX_PROCESS_ID"] or "")
    except ValueError:
        count, index = 0, 0
    if first is None or not 0 <= index < count:
        raise InvalidInputError(
            f"trainer: expected a number of processes, a smaller id, and the address of node 0, got {given}",
            hint="start it by a TrainJob whose runtime has the policy jax",
        )
    if count == 1:
        return None
    workers = [f"{first['before']}-{worker}{first['service']}:{PORT}" for worker in range(count)]
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


_VARIABLES = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS")


def main() -> int:
    """Become the command, with TF_CONFIG set; comes back only where that fails."""
    command = sys.argv[1:]
    if not command:
        print("usage: python -m pathcast.training.cluster_worker COMMAND…", file=sys.stderr)
        return 2
    try:
        config = tf_config(os.environ)
    except PathcastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    if config is not None:
        environment["TF_CONFIG"] = config
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
