from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from pathcast.training.launcher import LOST_PEER_EXIT, WorkersFailedError, launch

PRELUDE = """
import json, os, signal, sys, time
from pathcast.training.worker_process import end_with_the_launcher
config = json.loads(os.environ["TF_CONFIG"])
index, addresses = config["task"]["index"], config["cluster"]["worker"]
end_with_the_launcher()
"""
FOREVER = "time.sleep(600)"


def worker(body: str) -> list[str]:
    return [sys.executable, "-c", PRELUDE + body]


def run(tmp_path: Path, body: str, count: int = 2) -> list[Mapping[str, Any]]:
    events: list[Mapping[str, Any]] = []
    launch(worker(body), count, logs=tmp_path, environment=os.environ, on_event=events.append)
    return events


def test_workers_know_each_other_and_the_chief_reports(tmp_path: Path) -> None:
    events = run(
        tmp_path,
        """
print("worker", index)
if index == 0:
    os.write(int(os.environ["PATHCAST_WORKER_EVENTS"]), json.dumps(addresses).encode() + b"\\n")
    os.write(int(os.environ["PATHCAST_WORKER_EVENTS"]), b'{"event": "finished"}\\n')
else:
    assert os.environ["PATHCAST_WORKER_EVENTS"] == "-1"
""",
        count=3,
    )
    addresses, last = events
    assert len(set(addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert last == {"event": "finished"}
    assert [(tmp_path / f"worker-{n}.log").read_text() for n in range(3)] == [f"worker {n}\n" for n in range(3)]


@pytest.mark.parametrize(
    ("end", "said", "retryable"),
    [
        ("print('out of luck'); sys.exit(1)", r"worker 1 of 2 ended with exit code 1.*\| out of luck", False),
        ("os.kill(os.getpid(), signal.SIGKILL)", "worker 1 of 2 was killed by SIGKILL.*its log is empty", True),
        (f"sys.exit({LOST_PEER_EXIT})", f"worker 1 of 2 ended with exit code {LOST_PEER_EXIT}", True),
    ],
)
def test_the_worker_that_failed_is_named(tmp_path: Path, end: str, said: str, retryable: bool) -> None:
    # The other ends at the same time, for having lost it, unless it is itself the loser.
    other = 0 if str(LOST_PEER_EXIT) in end else LOST_PEER_EXIT
    with pytest.raises(WorkersFailedError) as failed:
        run(tmp_path, f"if index == 1:\n    {end}\nsys.exit({other})")
    assert failed.value.retryable == retryable
    assert re.search(said, failed.value.message, re.DOTALL)


def test_one_failure_stops_all(tmp_path: Path) -> None:
    began, others = time.monotonic(), set(psutil.Process().children(recursive=True))
    with pytest.raises(WorkersFailedError, match="worker 1 of 3 ended with exit code 3"):
        run(tmp_path, f"if index == 1: sys.exit(3)\n{FOREVER}", count=3)
    assert time.monotonic() - began < 60
    assert not set(psutil.Process().children(recursive=True)) - others


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    up = 'if index == 0: os.write(int(os.environ["PATHCAST_WORKER_EVENTS"]), b"1\\n")'
    script = f"""
import os, sys
from pathlib import Path
from pathcast.training.launcher import launch
argv = [sys.executable, "-c", {PRELUDE + up + chr(10) + FOREVER!r}]
launch(argv, 2, logs=Path({str(tmp_path)!r}), environment=os.environ, on_event=lambda event: print(event, flush=True))
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdout=pipe, stderr=pipe, text=True) as launcher:
        try:
            assert launcher.stdout is not None
            assert launcher.stdout.readline() == "1\n"
            workers = psutil.Process(launcher.pid).children()
            assert len(workers) == 2
            launcher.send_signal(number)
            launcher.communicate(timeout=60)
            assert not psutil.wait_procs(workers, timeout=60)[1]
        finally:
            launcher.kill()
