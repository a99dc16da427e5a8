"""Archived frames to the frames topic: `python -m streaming.replayer`, settings from `PATHCAST_*` variables."""

import logging
import sys

from pathcast.core.errors import PathcastError
from pathcast.core.settings import from_environment, load_settings
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.replayer import ReplayerSettings, resend
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.service import configure_logging, stop_signals

SERVICE = "replayer"

_log = logging.getLogger(SERVICE)


def main() -> int:
    """Send a recorded interval once, until it ends or the process is asked to stop."""
    configure_logging(SERVICE)
    try:
        platform, settings = load_settings(), from_environment(ReplayerSettings, hint="times are ISO 8601 with a zone")
        with (
            stop_signals() as stop,
            RecordProducer(
                platform.kafka_bootstrap, client_id=SERVICE, security=KafkaSecurity.of(platform)
            ) as producer,
        ):
            sent = resend(platform, settings, producer, stop=stop)
        _log.info("sent %d frames of %s as %s", sent, settings.camera, settings.send_as)
    except PathcastError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
