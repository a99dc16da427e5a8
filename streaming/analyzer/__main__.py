"""Frames to observations: `python -m streaming.analyzer`, settings from `PATHCAST_*` variables."""

import sys
from collections.abc import Callable

from pathcast.core.settings import from_environment, load_settings
from pathcast.messaging.analyzer import SERVICE, AnalyzerSettings, AnalyzerWorker
from pathcast.messaging.service import ServiceSettings, Worker, start_service
from pathcast.monitoring.metrics import ServiceMetrics


def build(service: ServiceSettings, metrics: ServiceMetrics) -> Callable[[], Worker]:
    """Read the settings once; the result builds a worker for each life of the service."""
    platform, settings = load_settings(), from_environment(AnalyzerSettings)
    return lambda: AnalyzerWorker(platform, settings, service, metrics)


if __name__ == "__main__":
    sys.exit(start_service(SERVICE, build))
