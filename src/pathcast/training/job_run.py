"""One job of a training operator from creation to removal, by the Kubernetes API."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.training.job_logs import Failure, PodWatch
from pathcast.training.launcher import LOST_PEER_EXIT

Answer = TypeVar("Answer")

_POLL_S = 3.0
_TRIES = 6
_FIRST_WAIT_S = 0.5
_GONE_S = 120.0
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class JobKind:
    """An operator's resource, the labels of its pods, the name of their container, and the condition of success."""

    group: str
    version: str
    plural: str
    job_label: str
    index_label: str
    container: str
    succeeded: str
    failed: str = "Failed"


@dataclass(frozen=True, slots=True)
class _State:
    """The conditions that hold, by type: reason and message."""

    conditions: Mapping[str, str]

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> _State:
        conditions = (job.get("status") or {}).get("conditions") or ()
        true = [each for each in conditions if each.get("status") == "True"]
        return cls({each["type"]: f"{each.get('reason', '')}: {each.get('message', '')}" for each in true})


class JobRun:
    """The job `name` in `namespace`. Waits and clock are arguments, so that tests own the time."""

    def __init__(
        self,
        kind: JobKind,
        namespace: str,
        name: str,
        *,
        workers: int,
        say: Callable[[str], None] = print,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from kubernetes import client

        self._kind, self._namespace, self._name, self._workers = kind, namespace, name, workers
        self._say, self._sleep, self._clock = say, sleep, clock
        self._api, self._core = client.CustomObjectsApi(), client.CoreV1Api()

    @property
    def _what(self) -> str:
        return f"{self._kind.plural.removesuffix('s')} {self._namespace}/{self._name}"

    def until_done(self, manifest: Mapping[str, Any], *, limit_s: float) -> None:
        """Create the job, show what happens to it and what its chief prints, return when it has succeeded.

        The job is removed however this ends. Raises PathcastError where it fails, is removed by somebody else, or
        takes longer than `limit_s`; ServiceUnavailableError where the API server does not answer.
        """
        with _ended_by_sigterm():
            try:
                self._create(manifest)
                self._follow(self._clock() + limit_s)
            finally:
                self._remove()

    def _create(self, manifest: Mapping[str, Any]) -> None:
        """Create it; one that is there already is an earlier try's: still running it is followed, ended it goes."""
        for _ in range(2):
            try:
                self._call("create", lambda: self._api.create_namespaced_custom_object(*self._place, manifest))
                self._say(f"{self._what}: created, {self._workers} workers")
                return
            except _AlreadyThereError:
                job = self._get()
                if job is not None and not self._ended(job) and "deletionTimestamp" not in job["metadata"]:
                    self._say(f"{self._what}: there already, followed")
                    return
                self._remove()
                self._wait_until_gone()
        raise PathcastError(f"{self._what}: an ended job of this name comes back", hint="kubectl describe it")

    def _follow(self, deadline: float) -> None:
        watch = PodWatch(self._pods, self._log, self._lines, self._say, self._workers)
        shown: set[str] = set()
        try:
            while True:
                job = self._get()
                if job is None:
                    raise PathcastError(f"{self._what}: somebody removed it while it ran")
                state = _State.of(job)
                watch.look()
                for condition in sorted(state.conditions.keys() - shown):
                    self._say(f"{self._what}: {condition.lower()}")
                    shown.add(condition)
                if self._kind.failed in state.conditions:
                    raise self._failed(state, watch.failures)
                if self._kind.succeeded in state.conditions:
                    return
                if self._clock() >= deadline:
                    raise PathcastError(
                        f"{self._what}: did not end in time; {watch.summary()}",
                        hint="give it more workers, or fewer epochs",
                    )
                self._sleep(_POLL_S)
        finally:
            watch.close()

    def _failed(self, state: _State, failures: list[Failure]) -> PathcastError:
        """The first worker that failed for a reason of its own, not for having lost another."""
        causes = [failure for failure in failures if failure.exit_code != LOST_PEER_EXIT] or failures
        if not causes:
            return PathcastError(f"{self._what}: failed: {state.conditions[self._kind.failed]}")
        cause = min(causes, key=lambda failure: failure.finished_at)
        why = "" if cause.reason in ("", "Error") else f" ({cause.reason})"
        shown = "".join(f"\n  | {line}" for line in cause.tail) or "\n  (its log is empty)"
        return PathcastError(
            f"{self._what}: worker {cause.index} of {self._workers} ended with exit code {cause.exit_code}{why}; "
            f"the end of its log:{shown}",
            hint="give each worker more memory" if cause.reason == "OOMKilled" else None,
        )

    def _ended(self, job: Mapping[str, Any]) -> bool:
        return bool({self._kind.failed, self._kind.succeeded} & _State.of(job).conditions.keys())

    def _remove(self) -> None:
        """Remove the job and its pods; a failure to do so is told, since there may be another on its way."""
        try:
            self._call(
                "remove",
                lambda: self._api.delete_namespaced_custom_object(
                    *self._place, self._name, propagation_policy="Background"
                ),
            )
        except _NotThereError:
            return
        except PathcastError as error:
            self._say(f"{self._what}: left behind: {error.message}; kubectl delete it")

    def _wait_until_gone(self) -> None:
        deadline = self._clock() + _GONE_S
        while self._get() is not None:
            if self._clock() >= deadline:
                raise PathcastError(f"{self._what}: still there {_GONE_S:.0f} s after its removal")
            self._sleep(_POLL_S)

    def _get(self) -> dict[str, Any] | None:
        try:
            return dict(self._call("read", lambda: self._api.get_namespaced_custom_object(*self._place, self._name)))
        except _NotThereError:
            return None

    def _pods(self) -> list[tuple[int, Any]]:
        """Workers' numbers and pods."""
        selector = f"{self._kind.job_label}={self._name}"
        found = self._call(
            "list the pods of", lambda: self._core.list_namespaced_pod(self._namespace, label_selector=selector)
        )
        return [(int(pod.metadata.labels.get(self._kind.index_label, 0)), pod) for pod in found.items]

    def _log(self, pod: str, *, previous: bool, lines: int) -> list[str]:
        """The last lines of a pod, of its container before this one with `previous`; none where it has no log."""
        try:
            text = self._call(
                "read a log of",
                lambda: self._core.read_namespaced_pod_log(
                    pod, self._namespace, container=self._kind.container, previous=previous, tail_lines=lines
                ),
            )
        except PathcastError as error:
            return [f"(its log cannot be read: {error.message})"]
        return str(text).splitlines()

    def _lines(self, pod: str) -> Iterator[str]:
        """A pod's lines as they come, until its container ends or the connection does."""
        answer = self._core.read_namespaced_pod_log(
            pod, self._namespace, container=self._kind.container, follow=True, _preload_content=False
        )
        try:
            rest = b""
            for part in answer.stream(decode_content=True):
                *whole, rest = (rest + part).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
        finally:
            answer.release_conn()

    @property
    def _place(self) -> tuple[str, str, str, str]:
        return self._kind.group, self._kind.version, self._namespace, self._kind.plural

    def _call(self, doing: str, request: Callable[[], Answer]) -> Answer:
        """The answer of the API server, asked again while it is busy or not there."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        def passing(error: BaseException) -> bool:
            if isinstance(error, ApiException):
                return error.status in (429, 500, 502, 503, 504)
            return isinstance(error, HTTPError)

        asked = retry(
            retry=retry_if_exception(passing),
            stop=stop_after_attempt(_TRIES),
            wait=wait_exponential(_FIRST_WAIT_S, max=15),
            sleep=self._sleep,
            reraise=True,
        )(request)
        try:
            return asked()
        except ApiException as error:
            raise self._translated(doing, error) from error
        except HTTPError as error:
            raise ServiceUnavailableError(f"{self._what}: cannot {doing} it: the API server does not answer") from error

    def _translated(self, doing: str, error: Any) -> PathcastError:
        said = f"{self._what}: cannot {doing} it: {error.status} {_BLANKS.sub(' ', str(error.body))[:500]}"
        if error.status == 404:
            return _NotThereError(said, hint="is the operator installed? deployments/README.md")
        if error.status == 409:
            return _AlreadyThereError(said)
        if error.status in (401, 403):
            return PathcastError(said, hint="the step's service account needs the chart's Role pathcast-lifecycle")
        if error.status in (400, 422):
            return InvalidInputError(said)
        return ServiceUnavailableError(said)


class _NotThereError(PathcastError):
    """There is no such object, or no such resource."""


class _AlreadyThereError(PathcastError):
    """An object of this name is there."""


class Ended(BaseException):
    """Somebody asked the process to end."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which a pod is ended, unwind the stack as Ctrl-C does; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Ended:
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)
