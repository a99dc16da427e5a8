"""The harness every streaming service runs in: signals, rebuilding after failures, logs, metrics."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Literal, Protocol

import psycopg
from kafka.errors import KafkaError
from minio.error import MinioException
from prometheus_client import start_http_server
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)
from urllib3.exceptions import HTTPError

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.settings import from_environment
from pathcast.messaging.topics import Instance
from pathcast.monitoring.metrics import ServiceMetrics

INFRASTRUCTURE_ERRORS: tuple[type[Exception], ...] = (
    ServiceUnavailableError,
    KafkaError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    MinioException,
    HTTPError,
    ConnectionError,
    TimeoutError,
)
"""What a service answers by tearing its connections down and starting again from durable state."""

_LONGEST_WAIT_S = 10.0
_HEALTHY_AFTER_S = 30.0

_log = logging.getLogger(__name__)


class ServiceSettings(BaseSettings):
    """What differs between the processes of one platform, from `PATHCAST_*` variables.

    At a `metrics_port` of 0 there is no metrics page.
    """

    model_config = SettingsConfigDict(env_prefix="PATHCAST_", frozen=True, extra="ignore")

    instance_index: int = Field(0, ge=0)
    instance_replicas: int = Field(1, ge=1)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65_535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def instance(self) -> Instance:
        return Instance(self.instance_index, self.instance_replicas)


class Worker(Protocol):
    """A service between two rebuilds: its connections, and what it has in hand."""

    def step(self) -> None:
        """Do a bounded piece of work, about a second at most; progress becomes durable by and by."""
        ...

    def finish(self) -> None:
        """Make durable what is in hand, because the service is asked to stop."""
        ...

    def close(self) -> None:
        """Let go of all connections; called in any state, also after a failed `step`."""
        ...


def run_service(
    build: Callable[[], Worker],
    *,
    metrics: ServiceMetrics,
    stop: threading.Event,
    first_wait_s: float = 0.2,
) -> None:
    """Run workers until `stop` is set; return when the last has finished its work.

    Any of `INFRASTRUCTURE_ERRORS`, in `build`, `step` or `finish`, closes the worker and builds a new one
    after a wait that grows to 10 s while failures follow each other. Other errors are faults of the code
    and end the service.
    """
    # From here on the lag grows until a worker reads.
    metrics.caught_up()
    while not stop.is_set():
        retrying = Retrying(
            retry=retry_if_exception_type(INFRASTRUCTURE_ERRORS),
            wait=wait_random_exponential(multiplier=first_wait_s, max=_LONGEST_WAIT_S),
            sleep=sleep_using_event(stop),
            stop=stop_when_event_set(stop),
            before_sleep=_note_failure,
            reraise=True,
        )
        try:
            retrying(_run_worker, build, metrics, stop)
        except INFRASTRUCTURE_ERRORS as error:
            _log.warning("stopped while a server was away; the work in hand is done at the next start: %s", error)


def start_service(
    name: str,
    build: Callable[[ServiceSettings, ServiceMetrics], Callable[[], Worker]],
    settings: ServiceSettings | None = None,
) -> int:
    """The body of a service's `main`: logging, metrics page, signals, then `run_service`; the exit code.

    `build` gets what it needs once and returns the function that builds a worker.
    """
    configure_logging(name)
    try:
        settings = settings or from_environment(ServiceSettings)
    except PathcastError as error:
        _log.error("%s", error)
        return 1
    configure_logging(name, settings.log_level)
    metrics = ServiceMetrics(name)
    with stop_signals() as stop:
        try:
            with metrics_page(settings, metrics):
                _log.info("started instance=%d/%d", settings.instance_index, settings.instance_replicas)
                run_service(build(settings, metrics), metrics=metrics, stop=stop)
                _log.info("stopped")
        except PathcastError as error:
            _log.error("stopped: %s", error)
            return 1
        except Exception:
            _log.exception("stopped by a fault")
            return 1
    return 0


@contextmanager
def metrics_page(settings: ServiceSettings, metrics: ServiceMetrics) -> Iterator[None]:
    """Serve the metrics meanwhile, where the settings give a port; PathcastError where the page cannot be opened."""
    if not settings.metrics_port:
        yield
        return
    try:
        server, _ = start_http_server(settings.metrics_port, settings.metrics_host, registry=metrics.registry)
    except (OSError, UnicodeError) as error:
        raise PathcastError(
            f"the metrics page cannot listen at {settings.metrics_host}:{settings.metrics_port}: {error}",
            hint="set PATHCAST_METRICS_PORT to a free port (0: no page), "
            "and PATHCAST_METRICS_HOST to an address of this host",
        ) from error
    try:
        yield
    finally:
        server.shutdown()


def configure_logging(service: str, level: str = "INFO") -> None:
    """One line per record on stderr: time in UTC, level, service, logger, message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SingleLine(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The client reports each failed reconnect; the harness reports the failure once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets; a second signal acts as it did before, as after the block."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        _log.info("asked to stop by %s", signal.Signals(number).name)
        restore()
        stop.set()

    for number in before:
        signal.signal(number, ask_to_stop)
    try:
        yield stop
    finally:
        restore()


def _run_worker(build: Callable[[], Worker], metrics: ServiceMetrics, stop: threading.Event) -> None:
    started = time.monotonic()
    worker: Worker | None = None
    try:
        worker = build()
        while not stop.is_set():
            worker.step()
        worker.finish()
    except INFRASTRUCTURE_ERRORS as error:
        metrics.rebuilt(error)
        if stop.is_set() or time.monotonic() - started < _HEALTHY_AFTER_S:
            raise
        # It ran well before, so this is a new trouble: the waits start small again.
        _log.warning("rebuilding after %s: %s", type(error).__name__, error)
    finally:
        if worker is not None:
            with suppress(*INFRASTRUCTURE_ERRORS):
                worker.close()


def _note_failure(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    wait_s = state.next_action.sleep if state.next_action is not None else 0.0
    _log.warning("rebuilding in %.1f s after %s: %s", wait_s, type(error).__name__, error)


class _SingleLine(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)s {service} %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")
