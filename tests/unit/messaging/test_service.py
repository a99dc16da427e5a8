from __future__ import annotations

import logging
import os
import signal
import threading

import psycopg
import pytest

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging.service import configure_logging, run_service, stop_signals
from pathcast.monitoring.metrics import ServiceMetrics


class Script:
    """Workers that do what a list says: None is a good step, an error is raised, 'stop' sets the event."""

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)
        self.stop = threading.Event()
        self.built = self.finished = self.closed = 0

    def build(self) -> Script:
        if self.steps[0] == "no build":
            self.steps.pop(0)
            raise ServiceUnavailableError("not there yet")
        self.built += 1
        return self

    def step(self) -> None:
        action = self.steps.pop(0)
        if isinstance(action, BaseException):
            raise action
        if action == "stop":
            self.stop.set()

    def finish(self) -> None:
        self.finished += 1

    def close(self) -> None:
        self.closed += 1

    def run(self) -> str:
        metrics = ServiceMetrics("test")
        run_service(self.build, metrics=metrics, stop=self.stop, first_wait_s=0.001)
        assert self.steps == []
        value = metrics.registry.get_sample_value
        return "".join(
            f"{name}:{int(value('pathcast_rebuilds_total', {'service': 'test', 'error': name}) or 0)} "
            for name in ("ServiceUnavailableError", "OperationalError")
        )


def test_a_stop_finishes_the_work_in_hand() -> None:
    script = Script(None, None, "stop")
    script.run()
    assert (script.built, script.finished, script.closed) == (1, 1, 1)


def test_infrastructure_errors_rebuild_from_durable_state() -> None:
    script = Script(
        "no build", None, psycopg.OperationalError("gone"), ServiceUnavailableError("x"), ConnectionError(), "stop"
    )
    assert script.run() == "ServiceUnavailableError:2 OperationalError:1 "
    assert (script.built, script.finished, script.closed) == (4, 1, 4)


def test_a_rebuild_counts_under_the_client_s_error() -> None:
    try:
        raise ServiceUnavailableError("could not write rows") from psycopg.OperationalError("gone")
    except ServiceUnavailableError as error:
        script = Script(error, "stop")
    assert script.run() == "ServiceUnavailableError:0 OperationalError:1 "


def test_faults_of_the_code_end_the_service() -> None:
    script = Script(None, KeyError("a fault"))
    with pytest.raises(KeyError):
        script.run()
    assert (script.built, script.finished, script.closed) == (1, 0, 1)


def test_a_stop_while_a_server_is_away_ends_the_service() -> None:
    script = Script(ServiceUnavailableError("away"))
    script.close = script.stop.set  # type: ignore[method-assign]
    script.run()
    assert script.finished == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_set_the_event_once_and_then_act_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_logs_are_single_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logging("tester")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("part").exception("failed")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("kafka").setLevel(logging.NOTSET)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert " ERROR tester part failed\\nTraceback" in lines[0]
