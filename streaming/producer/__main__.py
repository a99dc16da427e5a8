"""Cameras to frames: `python -m streaming.producer`, settings from `PATHCAST_*` variables."""

import logging
import math
import sys
from typing import Literal

from pydantic import Field, PositiveFloat
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.errors import PathcastError
from pathcast.core.settings import from_environment, load_settings
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.service import ServiceSettings, configure_logging, metrics_page, stop_signals
from pathcast.messaging.sources import DEFAULT_QUALITY, open_source
from pathcast.monitoring.metrics import ServiceMetrics

SERVICE = "producer"

_log = logging.getLogger(SERVICE)


class ProducerSettings(BaseSettings):
    """What the producer sends, from `PATHCAST_PRODUCER_*` variables.

    `cameras` maps camera ids to addresses, as JSON. `skip_stale` leaves frames of live cameras out,
    counted, while the broker cannot keep up. Recordings are sent once, at `pace` times real time, or as
    fast as the broker takes them where it is `fast`; `fps` overrides the rate that they claim.
    """

    model_config = SettingsConfigDict(
        env_prefix="PATHCAST_PRODUCER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    cameras: dict[str, str]
    fps: float | None = Field(None, gt=0, allow_inf_nan=False)
    pace: PositiveFloat | Literal["fast"] = 1.0
    quality: int = Field(DEFAULT_QUALITY, ge=1, le=100)
    skip_stale: bool = False


def load_producer_settings() -> ProducerSettings:
    """Settings from the environment; errors name variables only, as addresses hold passwords."""
    return from_environment(
        ProducerSettings,
        hint='cameras are JSON such as {"gate": "rtsp://host/live"}, pace is a positive factor or fast',
    )


def camera_streams(settings: ProducerSettings) -> list[CameraStream]:
    """The cameras with their sources; a live camera has its own rate, and is waited for however long it is away."""
    return [
        CameraStream(
            camera_id,
            open_source(
                address,
                fps=None if "://" in address else settings.fps,
                quality=settings.quality,
                connect_limit_s=math.inf,
            ),
            pace=None if settings.pace == "fast" else settings.pace,
            skip_stale=settings.skip_stale,
        )
        for camera_id, address in settings.cameras.items()
    ]


def main() -> int:
    """Send all cameras until they end or the process is asked to stop."""
    configure_logging(SERVICE)
    metrics = ServiceMetrics(SERVICE)
    try:
        service = from_environment(ServiceSettings)
        configure_logging(SERVICE, service.log_level)
        platform, cameras = load_settings(), camera_streams(load_producer_settings())
        security = KafkaSecurity.of(platform)
        with (
            metrics_page(service, metrics),
            stop_signals() as stop,
            RecordProducer(platform.kafka_bootstrap, client_id=SERVICE, security=security) as producer,
        ):
            FrameProducer(producer, topic=platform.frames_topic, metrics=metrics, stop=stop).stream_all(cameras)
    except PathcastError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
