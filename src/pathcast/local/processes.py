"""Server processes: started detached, recognised without doubt later, stopped with all their children.

A process is known by its id, its start time in clock ticks and the machine's boot: never by name. Each one
also carries a mark in its environment, which its children inherit, so that orphans of a killed server are found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "PATHCAST_PART"
POLL_S = 0.05
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_THREADS_FIELD, _STARTED_FIELD = 20, 22
"""Numbers of the count of threads and of the start time in /proc/PID/stat, see proc(5)."""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process of one boot of this machine.

    `started_ticks` counts clock ticks since the boot: unlike a wall-clock start time it does not move when the
    system clock is corrected.
    """

    pid: int
    started_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of the process that has this id now; None if there is none (or only its exit status)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
        after_name = stat.rpartition(")")[2].split()
        # A killed process is a zombie while other threads of it still end, and with them its files and ports.
        if after_name[0] in {"Z", "X"} and int(after_name[_THREADS_FIELD - 3]) <= 1:
            _reap(pid)
            return None
        return cls(pid, int(after_name[_STARTED_FIELD - 3]), _BOOT_ID.read_text().strip())

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessIdentity.of(self.pid) == self


@dataclass(frozen=True)
class Command:
    """What to start: an argument list (no secrets in it: others can read it), the whole environment, a folder."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


def spawn(command: Command, log: Path, mark: str) -> ProcessIdentity:
    """Start `command` in a session of its own, its output appended to `log`; it outlives this process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command.argv,
            env={**command.env, MARK: mark},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    # The process is waited for by id (see `_reap`), so that it may also be somebody else's child.
    process.returncode = 0
    identity = ProcessIdentity.of(process.pid)
    return identity or ProcessIdentity(process.pid, -1, "")


def family(identity: ProcessIdentity) -> list[ProcessIdentity]:
    """The process and all its descendants that run now, itself first."""
    if not identity.is_alive():
        return []
    try:
        children = psutil.Process(identity.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = (ProcessIdentity.of(child.pid) for child in children)
    return [identity, *(child for child in found if child is not None)]


def marked(mark_prefix: str) -> list[ProcessIdentity]:
    """Every process whose environment carries a mark that begins with `mark_prefix`."""
    needle = f"{MARK}={mark_prefix}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(variable.startswith(needle) for variable in environment.split(b"\0")):
            identity = ProcessIdentity.of(int(entry.name))
            if identity is not None:
                found.append(identity)
    return found


def working_in(folder: Path, executable: Path) -> list[ProcessIdentity]:
    """Every process that runs `executable` in `folder`: how PostgreSQL's are found, which overwrite their marks."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            matches = (entry / "cwd").readlink() == folder and (entry / "exe").readlink() == executable
        except OSError:
            continue
        identity = ProcessIdentity.of(int(entry.name)) if matches else None
        if identity is not None:
            found.append(identity)
    return found


def stop(identity: ProcessIdentity, stop_signal: signal.Signals, limit_s: float) -> bool:
    """Ask the process to end, wait for it and its children, and kill what is left after `limit_s`.

    Returns whether it ended by itself.
    """
    members = family(identity)
    send(members[:1], stop_signal)
    ended = wait_until_gone(members, limit_s)
    if not ended:
        kill(members)
    return ended


def kill(members: Iterable[ProcessIdentity], limit_s: float = 10.0) -> None:
    """SIGKILL these processes and wait until the kernel has removed them."""
    members = list(members)
    send(members, signal.SIGKILL)
    wait_until_gone(members, limit_s)


def send(members: Iterable[ProcessIdentity], number: signal.Signals) -> None:
    """Send a signal to those that still run."""
    for member in members:
        if member.is_alive():
            try:
                os.kill(member.pid, number)
            except ProcessLookupError:
                continue


def wait_until_gone(members: Sequence[ProcessIdentity], limit_s: float) -> bool:
    """Wait until none of the processes runs; False if some still do after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while any(member.is_alive() for member in members):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def memory_bytes(identity: ProcessIdentity) -> int:
    """Memory of the process and its children; pages they share are counted once where the kernel tells."""
    total = 0
    for member in family(identity):
        try:
            process = psutil.Process(member.pid)
            try:
                total += process.memory_full_info().pss
            except psutil.AccessDenied:
                total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def uptime_s(identity: ProcessIdentity) -> float:
    """Seconds since the process was started."""
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot_s - identity.started_ticks / os.sysconf("SC_CLK_TCK"))


def _reap(pid: int) -> None:
    """Take the exit status of an ended child of ours; the children of others are their parents' business."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
