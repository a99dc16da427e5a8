"""Frames to packs and rows: `python -m streaming.archiver`, settings from `PATHCAST_*` variables."""

import sys
import time
from collections.abc import Callable

from pathcast.core.settings import from_environment, load_settings
from pathcast.messaging.archiver import SERVICE, ArchiverSettings, ArchiverWorker, CleaningTimes
from pathcast.messaging.service import ServiceSettings, Worker, start_service
from pathcast.monitoring.metrics import ServiceMetrics


def build(service: ServiceSettings, metrics: ServiceMetrics) -> Callable[[], Worker]:
    """Read the settings once; the result builds a worker for each life of the service."""
    platform, settings = load_settings(), from_environment(ArchiverSettings)
    cleaning = CleaningTimes(settings.housekeeping_s, time.monotonic())
    return lambda: ArchiverWorker(platform, settings, service, metrics, cleaning)


if __name__ == "__main__":
    sys.exit(start_service(SERVICE, build))
