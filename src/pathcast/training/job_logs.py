"""What a job's pods do: the chief's lines as they come, who waits for what, who failed and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

_TAIL_LINES = 20
_LAST_LINES_S = 5.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ReadLog(Protocol):
    """The last `lines` of a pod's log, of the container before this one with `previous`."""

    def __call__(self, pod: str, *, previous: bool, lines: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A worker's container that ended with another exit code than 0, and the end of its log."""

    index: int
    pod: str
    exit_code: int
    reason: str
    finished_at: datetime
    tail: tuple[str, ...]


class PodWatch:
    """Looks at the pods again and again.

    `pods` gives workers' numbers and pods, `lines` those of a pod until it ends. Failures are kept when they are
    seen: an operator may remove the pod, or start its container again, before the job has failed.
    """

    def __init__(
        self,
        pods: Callable[[], list[tuple[int, Any]]],
        log: ReadLog,
        lines: Callable[[str], Iterator[str]],
        say: Callable[[str], None],
        workers: int,
    ) -> None:
        self._pods, self._log, self._lines, self._say, self._workers = pods, log, lines, say, workers
        self.failures: list[Failure] = []
        self._known: set[tuple[str, int]] = set()
        self._states: dict[int, str] = {}
        self._followers: dict[tuple[str, int], _Follower] = {}

    def look(self) -> None:
        """See what is new."""
        for index, pod in self._pods():
            for status in (pod.status.container_statuses or ())[:1]:
                self._note_failures(index, pod, status)
                if index == 0 and (status.state.running or status.state.terminated):
                    self._follow(pod, status.restart_count)
            state = _state_of(pod)
            if self._states.get(index) != state:
                self._states[index] = state
                self._say(f"worker {index} of {self._workers}: {state}")

    def summary(self) -> str:
        """Every worker's state."""
        return ", ".join(f"worker {index}: {state}" for index, state in sorted(self._states.items())) or "no pod yet"

    def close(self) -> None:
        """Give the last lines a moment to come."""
        for follower in self._followers.values():
            follower.join(_LAST_LINES_S)

    def _note_failures(self, index: int, pod: Any, status: Any) -> None:
        for previous, ended in ((True, status.last_state.terminated), (False, status.state.terminated)):
            key = (pod.metadata.uid, status.restart_count - previous)
            if ended is None or ended.exit_code == 0 or key in self._known:
                continue
            self._known.add(key)
            tail = self._log(pod.metadata.name, previous=previous, lines=_TAIL_LINES)
            when = ended.finished_at or _LONG_AGO
            self.failures.append(
                Failure(index, pod.metadata.name, ended.exit_code, ended.reason or "", when, tuple(tail))
            )

    def _follow(self, pod: Any, restart: int) -> None:
        key = (pod.metadata.uid, restart)
        follower = self._followers.get(key)
        if follower is None:
            self._followers[key] = _Follower(self._lines, pod.metadata.name, self._say)
        elif follower.broken:
            self._followers[key] = _Follower(self._lines, pod.metadata.name, self._say, skip=follower.seen)


class _Follower(threading.Thread):
    """Passes one container's lines on; `broken` when the connection ended before the container did."""

    def __init__(
        self, lines: Callable[[str], Iterator[str]], pod: str, say: Callable[[str], None], skip: int = 0
    ) -> None:
        super().__init__(name=f"log-{pod}", daemon=True)
        self._read, self._pod, self._tell, self._skip = lines, pod, say, skip
        self.seen, self.broken = 0, False
        self.start()

    def run(self) -> None:
        try:
            for line in self._read(self._pod):
                self.seen += 1
                if self.seen > self._skip:
                    self._tell(f"worker 0 | {line}")
        except Exception:  # whatever broke the connection, the next look makes another
            self.seen = max(self.seen, self._skip)
            self.broken = True


def _state_of(pod: Any) -> str:
    """The pod's phase, and why it waits.

    A pod that cannot be placed, or whose image cannot be had, says so nowhere else.
    """
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"not placed: {condition.message}"
    for status in (pod.status.container_statuses or ())[:1]:
        if status.state.waiting and status.state.waiting.reason not in ("ContainerCreating", "PodInitializing"):
            return f"waiting: {status.state.waiting.reason}: {status.state.waiting.message or ''}"
    return str(pod.status.phase).lower()
