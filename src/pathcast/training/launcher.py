"""Several worker processes on this machine, started, watched and stopped as one."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathcast.core.errors import PathcastError

LOOPBACK = "127.0.0.1"
EVENTS_VARIABLE = "PATHCAST_WORKER_EVENTS"
"""Set for workers of this launcher: the file descriptor on which the chief says how far it is, -1 for the others."""
LOST_PEER_EXIT = 138
"""How a worker ends that lost another: the exit code that a TFJob's restart policy takes for worth a retry."""
_PORTS = range(12_000, 30_000)
"""Below those that Linux gives to outgoing connections."""
_TAIL_LINES = 20
_EXPLAIN_S = 15.0

Events = Callable[[Mapping[str, Any]], None]


class WorkersFailedError(PathcastError):
    """A worker failed, and all were stopped. `retryable`: it was killed, or its machine failed; not its work."""

    def __init__(self, message: str, *, hint: str | None, retryable: bool) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


@dataclass(slots=True)
class _Worker:
    index: int
    process: subprocess.Popen[bytes]
    log: Path


def launch(
    argv: Sequence[str],
    count: int,
    *,
    logs: Path,
    threads: int = 1,
    environment: Mapping[str, str],
    on_event: Events,
) -> None:
    """Run `argv` as `count` workers that know of each other by TF_CONFIG; returns when all have ended well.

    Each is held to `threads` cores of its own where the machine has as many. Their output goes to
    `logs`/worker-N.log, the chief's events to `on_event`. However this function ends, no worker is left. Raises
    WorkersFailedError, with the end of the failing worker's log.
    """
    logs.mkdir(parents=True, exist_ok=True)
    addresses = [f"{LOOPBACK}:{port}" for port in _free_ports(count)]
    cores = sorted(os.sched_getaffinity(0))
    reading, writing = os.pipe()
    workers: list[_Worker] = []
    try:
        for index in range(count):
            task = {"type": "worker", "index": index}
            variables = {
                **environment,
                "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
                EVENTS_VARIABLE: str(writing if index == 0 else -1),
            }
            log = logs / f"worker-{index}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    argv,
                    env=variables,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writing,) if index == 0 else (),
                    start_new_session=True,
                )
            workers.append(_Worker(index, process, log))
            if threads * count <= len(cores):
                _pin(process.pid, cores[index * threads : (index + 1) * threads])
        os.close(writing)
        writing = -1
        _watch(workers, reading, on_event)
    finally:
        _stop(workers)
        for descriptor in (reading, writing):
            if descriptor >= 0:
                os.close(descriptor)


def _watch(workers: Sequence[_Worker], reading: int, on_event: Events) -> None:
    """Pass events on until every worker has ended; raise at the first that failed."""
    ends = {os.pidfd_open(worker.process.pid): worker for worker in workers}
    pending = b""
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (reading, *ends):
                selector.register(descriptor, selectors.EVENT_READ)
            # The pipe ends when the last worker that holds it does; then its end is read as well.
            while selector.get_map():
                for key, _ in selector.select():
                    if key.fd != reading:
                        selector.unregister(key.fd)
                        if ends[key.fd].process.wait() != 0:
                            raise _explain(workers)
                        continue
                    data = os.read(reading, 1 << 16)
                    if not data:
                        selector.unregister(reading)
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        on_event(json.loads(line))
    finally:
        for descriptor in ends:
            os.close(descriptor)


def _explain(workers: Sequence[_Worker]) -> WorkersFailedError:
    """Which worker was the cause: the first that failed for a reason of its own, not for having lost another."""
    deadline = time.monotonic() + _EXPLAIN_S
    while time.monotonic() < deadline:
        codes = [worker.process.poll() for worker in workers]
        if any(code not in (None, 0, LOST_PEER_EXIT) for code in codes) or None not in codes:
            break
        time.sleep(0.05)
    failed = [worker for worker in workers if worker.process.poll() not in (None, 0)]
    cause = next((worker for worker in failed if worker.process.returncode != LOST_PEER_EXIT), failed[0])
    code = cause.process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    tail = cause.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    shown = "".join(f"\n  | {line}" for line in tail) or "\n  (its log is empty)"
    return WorkersFailedError(
        f"worker {cause.index} of {len(workers)} {how}; all were stopped. The end of {cause.log}:{shown}",
        hint="go on from the last checkpoint with --resume" if code < 0 else None,
        retryable=code < 0 or code == LOST_PEER_EXIT,
    )


def _stop(workers: Sequence[_Worker]) -> None:
    """End them at once: a worker has nothing to put in order, since its files appear whole or not at all."""
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.wait()
        if worker.process.stdin is not None:
            worker.process.stdin.close()


def _pin(pid: int, cores: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(pid, cores)
    except ProcessLookupError:
        return


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, held together while they are looked for so that they differ."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(1000):
            if len(sockets) == count:
                break
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                probe.bind((LOOPBACK, secrets.choice(_PORTS)))
            except OSError:
                probe.close()
                continue
            sockets.append(probe)
        if len(sockets) < count:
            raise PathcastError(f"expected {count} free ports of {LOOPBACK}, found {len(sockets)}")
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()
