"""The local platform: the real servers and Pathcast's services on this machine, started, watched and stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.settings import ENVIRONMENT_FILE, STATE_DIR, PlatformSettings
from pathcast.local import processes
from pathcast.local.database import Database
from pathcast.local.environment import write_environment_file
from pathcast.local.interrupts import interrupts_held
from pathcast.local.kafka import Kafka
from pathcast.local.object_store import ObjectStore
from pathcast.local.parts import Part, Progress, Site, configuration_digest
from pathcast.local.ports import choose_ports
from pathcast.local.services import Analyzer, Archiver, Recorder
from pathcast.local.state import Credentials, PlatformState, RunningPart, exclusive
from pathcast.local.tracking import Tracking
from pathcast.local.triton_part import Triton

LOCK_LIMIT_S = 300.0
LOG_LIMIT_BYTES = 20_000_000
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class PartStatus:
    """How one part is.

    `state` is `ready`; `not answering` (it runs); `dead` (it was started and has ended by itself); or `stopped`.
    `address` is `host:port`, empty if it listens nowhere. Memory includes child processes.
    """

    name: str
    kind: str
    address: str
    pid: int | None
    state: str
    memory_bytes: int | None
    uptime_s: float | None
    log: Path


class _CancelledError(Exception):
    """A start was given up because another one failed or the user interrupted."""


class Platform:
    """The parts of one local platform, all of whose files are in `state_dir`.

    Commands of several processes on one `state_dir` are safe: those that start or stop parts wait for each other.
    With `durable=False` the broker keeps its records in memory, and loses them when it is stopped.
    """

    def __init__(self, state_dir: Path = STATE_DIR, *, durable: bool = True) -> None:
        self.state_dir = Path(os.path.realpath(state_dir))
        self._servers: tuple[Part, ...] = (ObjectStore(), Database(), Kafka(durable=durable), Tracking(), Triton())
        self._services: tuple[Part, ...] = (Archiver(), Analyzer(), Recorder())
        self._parts = {part.name: part for part in (*self._servers, *self._services)}
        self._state_change = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """All parts, in the order in which they start."""
        return tuple(self._parts)

    def up(self, servers_only: bool = False, on_progress: Progress | None = None) -> None:
        """Start every part that does not run, and return when all are ready.

        A part that runs with other ports or options than the platform has now is started again. If one can't be
        started, or on Ctrl-C, the parts that this call started are stopped again.

        Raises `ServiceUnavailableError`, naming the log, if a part is not ready in time.
        """
        wanted = self._servers if servers_only else (*self._servers, *self._services)
        with self._exclusive(on_progress):
            self._start(wanted, on_progress or _silent)

    def start(self, name: str) -> None:
        """Start one part, if it does not run, and wait until it is ready."""
        part = self._part(name)
        with self._exclusive(None):
            self._start((part,), _silent)

    def kill(self, name: str) -> None:
        """End a part and its children by SIGKILL, as a crash would, and wait until they are gone."""
        self._part(name)
        state = PlatformState.load(self.state_dir)
        running = None if state is None else state.parts.get(name)
        if running is not None:
            processes.kill(processes.family(running.identity))

    def restart(self, name: str) -> None:
        """Stop one part in its own orderly way and start it again."""
        part = self._part(name)
        with self._exclusive(None):
            site = self._site(())
            self._stop(part, site)
            self._start((part,), _silent)

    def down(self, on_progress: Progress | None = None) -> None:
        """Stop every part, services first; returns when no process of the platform is left. Data and logs stay."""
        if PlatformState.load(self.state_dir) is None:
            return
        say = on_progress or _silent
        with self._exclusive(on_progress), interrupts_held():
            site = self._site(())
            for group in _stop_order(tuple(self._parts.values())):
                with ThreadPoolExecutor(len(group)) as pool:
                    for part in group:
                        say(part.name, "stopping")
                    list(pool.map(lambda part: self._stop(part, site), group))
                    for part in group:
                        say(part.name, "stopped")
            processes.kill(processes.marked(f"{site.instance}/"))
            (self.state_dir / ENVIRONMENT_FILE).unlink(missing_ok=True)

    def status(self) -> list[PartStatus]:
        """How every part is now; asks each running one whether it answers."""
        state = PlatformState.load(self.state_dir) or PlatformState("")
        with ThreadPoolExecutor(len(self._parts)) as pool:
            return list(pool.map(lambda part: self._status(part, state), self._parts.values()))

    def settings(self) -> PlatformSettings:
        """Addresses and credentials for clients.

        Raises `PathcastError` if the platform was never started.
        """
        if PlatformState.load(self.state_dir) is None:
            raise PathcastError(f"there is no platform in {self.state_dir}", hint="run `pathcast up`")
        return self._site(()).settings()

    def log_path(self, name: str) -> Path:
        """Where the part's output goes; the file exists once the part was started."""
        return self.state_dir / "logs" / f"{self._part(name).name}.log"

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise PathcastError(f"there is no part {name!r}", hint=f"the parts are {', '.join(self._parts)}")
        return self._parts[name]

    @contextmanager
    def _exclusive(self, on_progress: Progress | None) -> Iterator[None]:
        # Others may pass through (the database's user has to), but not look around.
        self.state_dir.mkdir(parents=True, exist_ok=True)
        for folder in (self.state_dir, self.state_dir / "data"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        (self.state_dir / "logs").mkdir(exist_ok=True, mode=0o700)
        say = on_progress or _silent
        with exclusive(self.state_dir, LOCK_LIMIT_S, lambda: say("platform", "waiting for another pathcast command")):
            yield

    def _site(self, wanted: Sequence[Part]) -> Site:
        """The platform's surroundings, with a port for everything that `wanted` parts need; saved when changed."""
        state = PlatformState.load(self.state_dir) or PlatformState.new()
        alive = {name for name, part in state.parts.items() if part.identity.is_alive()}
        own_ports = {port for name in alive for port in self._parts[name].port_names}
        names = [port for part in wanted for port in part.port_names]
        chosen = choose_ports(names, state.ports, in_use=own_ports)
        updated = replace(state, ports={**state.ports, **chosen})
        if updated != state or not state.ports:
            updated.save(self.state_dir)
        credentials = Credentials.load_or_generate(self.state_dir)
        return Site(self.state_dir, updated.instance, updated.ports, credentials)

    def _start(self, wanted: Sequence[Part], say: Progress) -> None:
        for part in wanted:
            part.install(lambda message, name=part.name: say(name, message))  # type: ignore[misc]
        site = self._site(tuple(self._parts.values()))
        started: list[Part] = []
        cancel = threading.Event()
        try:
            self._start_in_order(wanted, site, started, cancel, say)
            write_environment_file(site.settings(), self.state_dir)
        except BaseException:
            cancel.set()
            with interrupts_held():
                say("platform", "stopping what was started")
                for group in _stop_order(started):
                    for part in group:
                        self._stop(part, site)
            raise

    def _start_in_order(
        self, wanted: Sequence[Part], site: Site, started: list[Part], cancel: threading.Event, say: Progress
    ) -> None:
        """Start the parts, each as soon as those it needs are ready; raises the first failure."""
        waiting = {part.name: part for part in wanted}
        running: dict[Future[None], str] = {}
        ready: set[str] = set()
        with ThreadPoolExecutor(max(1, len(waiting))) as pool:
            try:
                while waiting or running:
                    names = set(waiting) | set(running.values())
                    for name, part in list(waiting.items()):
                        if not names.intersection(part.after):
                            del waiting[name]
                            running[pool.submit(self._ensure_ready, part, site, started, cancel, say)] = name
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        ready.add(running.pop(future))
                        future.result()
            except BaseException:
                cancel.set()
                raise

    def _ensure_ready(
        self, part: Part, site: Site, started: list[Part], cancel: threading.Event, say: Progress
    ) -> None:
        log = site.log_path(part.name)
        site.data_dir(part.name).mkdir(exist_ok=True, mode=0o700)
        command = part.command(site)
        digest = configuration_digest(command)
        state = PlatformState.load(self.state_dir) or PlatformState.new()
        current = state.parts.get(part.name)
        if current is None or not current.identity.is_alive() or current.configuration != digest:
            say(part.name, "starting")
            self._stop(part, site)
            if cancel.is_set():
                raise _CancelledError
            _rotate(log)
            part.prepare(site)
            with self._state_change:
                if cancel.is_set():
                    raise _CancelledError
                started.append(part)
                identity = processes.spawn(command, log, site.mark(part.name))
                current = RunningPart(identity, digest)
                state = PlatformState.load(self.state_dir) or PlatformState.new()
                state.with_part(part.name, current).save(self.state_dir)
        self._wait_until_ready(part, site, current, cancel)
        warning = part.finish(site)
        say(part.name, "ready" if warning is None else f"ready, but {warning}")

    def _wait_until_ready(self, part: Part, site: Site, current: RunningPart, cancel: threading.Event) -> None:
        deadline = time.monotonic() + part.ready_limit_s
        while not cancel.is_set():
            try:
                part.probe(site)
            except Exception as error:  # a part may say in any way that it is not ready yet
                if not current.identity.is_alive():
                    raise self._failure(part, "ended while it was starting") from error
                if time.monotonic() > deadline:
                    what = f"did not become ready within {part.ready_limit_s:.0f} s ({error})"
                    raise self._failure(part, what) from error
                cancel.wait(processes.POLL_S)
            else:
                if not current.identity.is_alive():
                    raise self._failure(part, "ended while it was starting")
                return
        raise _CancelledError

    def _failure(self, part: Part, what: str) -> ServiceUnavailableError:
        log = self.log_path(part.name)
        return ServiceUnavailableError(
            f"{part.name} ({part.kind}) {what}; {log} ends with:\n{log_tail(log, LOG_TAIL_LINES)}",
            hint=f"read {log}, then run the same command again",
        )

    def _stop(self, part: Part, site: Site) -> None:
        """Stop the part if it runs, clear away what an earlier start of it left, and forget it."""
        state = PlatformState.load(self.state_dir) or PlatformState.new()
        current = state.parts.get(part.name)
        if current is not None:
            processes.stop(current.identity, part.stop_signal, part.stop_limit_s)
        leftovers = part.leftovers(site)
        if leftovers and not processes.wait_until_gone(leftovers, 2.0):
            processes.kill(leftovers)
        with self._state_change:
            state = PlatformState.load(self.state_dir) or state
            if part.name in state.parts:
                state.without_part(part.name).save(self.state_dir)

    def _status(self, part: Part, state: PlatformState) -> PartStatus:
        log = self.log_path(part.name)
        running = state.parts.get(part.name)
        known = bool(part.port_names) and part.port_names[0] in state.ports
        address = self._site(()).address(part.port_names[0]) if known else ""
        if running is None or not running.identity.is_alive():
            ended = "stopped" if running is None else "dead"
            return PartStatus(part.name, part.kind, address, None, ended, None, None, log)
        try:
            part.probe(self._site(()))
            condition = "ready"
        except Exception:  # whatever it is, the part does not answer as it should
            condition = "not answering"
        identity = running.identity
        memory = processes.memory_bytes(identity)
        return PartStatus(
            part.name, part.kind, address, identity.pid, condition, memory, processes.uptime_s(identity), log
        )


def log_tail(log: Path, lines: int) -> str:
    """The last lines of a log, without those of earlier starts' files."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64_000))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "(there is no log yet)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def _stop_order(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups of parts to stop one after the other: a part stops before those that it needs."""
    remaining = list(parts)
    groups = []
    while remaining:
        needed = {name for part in remaining for name in part.after}
        group = [part for part in remaining if part.name not in needed]
        groups.append(group)
        remaining = [part for part in remaining if part not in group]
    return groups


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _silent(name: str, message: str) -> None:
    return
