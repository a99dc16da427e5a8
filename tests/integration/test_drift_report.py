"""The HTML report, written in a process of its own that may not reach anything."""

import json
import subprocess
import sys

import pytest

from tests.support.streaming import REPOSITORY

pytestmark = pytest.mark.integration

PROGRAM = """
import json, os, socket, subprocess, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

reached = []

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.posix_spawn"):
        reached.append(f"{event} {arguments[:2]}")

for name in ("DO_NOT_TRACK", "ITERATIVE_DO_NOT_TRACK", "EVIDENTLY_DISABLE_TELEMETRY"):
    os.environ.pop(name, None)
sys.addaudithook(refuse)

import numpy as np
from pathcast.monitoring.check import Compared, Finding
from pathcast.monitoring.definition import Monitoring, Samples
from pathcast.monitoring.report import write_report
from pathcast.monitoring.signals import BRIGHTNESS, FORECAST_SKILL
from pathcast.monitoring.verdict import Span, judge

assert "evidently" not in sys.modules
random = np.random.default_rng(0)
window = Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))
windows = [Samples(np.zeros(50), random.normal(120, 15, 50), np.ones(50)) for _ in range(6)]
now = Samples(np.zeros(60), random.normal(180, 15, 60), np.ones(60))
compared = []
for signal in (BRIGHTNESS, FORECAST_SKILL):
    judged = judge(signal, Monitoring(), windows, now)
    finding = Finding("detector", "gate <1>", signal.name, window, "7", judged)
    compared.append(Compared(finding, signal, Samples.joined(windows), now))
write_report(compared, Path(sys.argv[1]))
write_report([], Path(sys.argv[1]).with_suffix(".empty"))

from evidently.telemetry import event_logger
from iterative_telemetry import IterativeTelemetryLogger
print(json.dumps({
    "reached": reached,
    "distance": compared[0].finding.judgement.distance,
    "evidently_may": event_logger.is_enabled(),
}))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "drift.html"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path], cwd=REPOSITORY, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout.splitlines()[-1])


def test_the_report_holds_the_table_and_evidentlys_same_distance(written):
    path, answer = written
    page = path.read_text()
    assert "<td>gate &lt;1&gt;</td><td>brightness</td>" in page
    assert "<tr class='alarm'>" in page
    assert "brightness, gate" in page
    assert page.index("Content-Security-Policy") < page.index("<script")
    # Evidently shows its own figure of the same distance; both are Wasserstein's over the reference's deviation.
    assert f"{answer['distance']:.3f}"[:5] in page
    assert "<table>" in path.with_suffix(".empty").read_text()


def test_nothing_is_reported_to_anyone(written):
    """Neither a socket nor a process, from the first import to the last line, and Evidently's own switch is off."""
    _, answer = written
    assert answer["reached"] == []
    assert answer["evidently_may"] is False
