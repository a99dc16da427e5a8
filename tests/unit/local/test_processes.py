import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from support.waiting import wait_for

from pathcast.local import processes
from pathcast.local.processes import Command, ProcessIdentity

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
PARENT = (
    "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); "
    "print('on', flush=True); time.sleep(60)"
)


@pytest.fixture
def spawn(tmp_path):
    started = []

    def start(program: str, mark: str = "unit/part/") -> ProcessIdentity:
        command = Command((sys.executable, "-c", program), {"PATH": os.environ["PATH"]}, tmp_path)
        identity = processes.spawn(command, tmp_path / "log", mark)
        started.append(identity)
        wait_for(lambda: "on" in (tmp_path / "log").read_text(), "the first word of the process")
        return identity

    yield start
    for identity in started:
        processes.kill(processes.family(identity))
    processes.kill(processes.marked(f"unit-{os.getpid()}/"))


SLEEPER = "import time; print('on', flush=True); time.sleep(60)"


def test_a_process_is_recognised_until_it_ends(spawn):
    identity = spawn(SLEEPER)
    assert identity.is_alive()
    assert ProcessIdentity.of(identity.pid) == identity
    assert processes.memory_bytes(identity) > 1_000_000
    assert 0 <= processes.uptime_s(identity) < 30
    processes.kill([identity])
    assert not identity.is_alive()
    assert processes.memory_bytes(identity) == 0


def test_another_process_with_the_same_id_is_not_taken_for_it():
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    earlier = replace(own, started_ticks=own.started_ticks - 1)
    other_boot = replace(own, boot_id="00000000-0000-0000-0000-000000000000")
    for stranger in (earlier, other_boot):
        assert not stranger.is_alive()
        assert processes.family(stranger) == []
        # Would end this test run if identities were ids only.
        processes.kill([stranger])
        assert processes.stop(stranger, signal.SIGKILL, 1.0)


def test_an_ended_child_that_nobody_waited_for_is_not_alive():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = ProcessIdentity.of(child.pid)
    child.returncode = 0
    wait_for(lambda: ProcessIdentity.of(child.pid) is None, "the end of the child")
    assert identity is None or not identity.is_alive()


def test_it_has_a_session_of_its_own_and_a_private_log(spawn, tmp_path):
    identity = spawn(SLEEPER)
    assert os.getsid(identity.pid) == identity.pid
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_stop_lets_a_process_end_by_itself(spawn):
    assert processes.stop(spawn(SLEEPER), signal.SIGTERM, 10.0)


def test_stop_kills_what_does_not_listen(spawn):
    identity = spawn(STUBBORN)
    assert not processes.stop(identity, signal.SIGTERM, 0.2)
    assert not identity.is_alive()


def test_stop_takes_children_in_other_sessions_along(spawn):
    identity = spawn(PARENT)
    wait_for(lambda: len(processes.family(identity)) == 2, "both processes")
    members = processes.family(identity)
    assert not processes.stop(identity, signal.SIGTERM, 0.3)
    assert not any(member.is_alive() for member in members)


def test_orphans_are_found_by_their_mark(spawn):
    mark = f"unit-{os.getpid()}/server/"
    identity = spawn(PARENT, mark)
    wait_for(lambda: len(processes.family(identity)) == 2, "both processes")
    (orphan,) = processes.family(identity)[1:]
    processes.kill([identity])
    assert processes.marked(mark) == [orphan]
    assert processes.marked(f"unit-{os.getpid()}/serv/") == []
    processes.kill([orphan])
    assert processes.marked(mark) == []


def test_processes_are_found_by_folder_and_program(spawn, tmp_path):
    identity = spawn(SLEEPER)
    executable = os.path.realpath(f"/proc/{identity.pid}/exe")
    folder = tmp_path.resolve()
    assert processes.working_in(folder, type(tmp_path)(executable)) == [identity]
    assert processes.working_in(folder, folder / "other") == []
    assert processes.working_in(folder.parent, type(tmp_path)(executable)) == []
