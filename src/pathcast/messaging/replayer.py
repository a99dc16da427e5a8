"""Archived frames onto the frames topic once more, as those of another camera."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import PositiveFloat
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.clock import Clock, SystemClock
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import check_utc
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_codec import encode_frame
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.trace import new_traceparent
from pathcast.storage.archive import FrameArchive
from pathcast.storage.cameras import read_camera, upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.reads import read_frame_rows


class ReplayerSettings(BaseSettings):
    """What is sent again, from `PATHCAST_REPLAYER_*` variables.

    The frames of `camera` in since ≤ captured_at < until (aware UTC) go out as those of `send_as`, the first of them
    at `start_at` (aware UTC; by default so that the last is of now). At a `speed` of 1.6 the time between two frames is
    1.6 times shorter, and whoever walks in them is as much faster.
    """

    model_config = SettingsConfigDict(env_prefix="PATHCAST_REPLAYER_", frozen=True, extra="ignore")

    camera: str
    send_as: str
    since: datetime
    until: datetime
    start_at: datetime | None = None
    speed: PositiveFloat = 1.0


def resend(
    platform: PlatformSettings,
    settings: ReplayerSettings,
    producer: RecordProducer,
    *,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Send the frames as fast as the broker takes them; return how many, once all are acknowledged.

    `send_as` has the calibration of `camera`. Raises InvalidInputError where nothing is archived there, or where the
    two cameras are one: its frames would be refused as repeats.
    """
    for name in ("since", "until", "start_at"):
        if (moment := getattr(settings, name)) is not None:
            check_utc(name, moment)
    if settings.camera == settings.send_as:
        raise InvalidInputError(f"send_as: expected another camera than {settings.camera}, whose frames these are")
    archive = FrameArchive.connect(platform)
    with connect(platform.database_url, application_name="replayer") as connection:
        rows = read_frame_rows(connection, settings.camera, settings.since, settings.until)
        if not rows:
            raise InvalidInputError(
                f"camera {settings.camera}: nothing is archived from {settings.since} to {settings.until}"
            )
        known = read_camera(connection, settings.camera)
        plane = None if known is None else known.ground_plane
        upsert_camera(
            connection,
            settings.send_as,
            None if plane is None else plane.as_mapping(),
            None if known is None else known.classify,
        )
    first = rows[0].captured_at
    length = (rows[-1].captured_at - first) / settings.speed
    start_at = settings.start_at or (clock or SystemClock()).now() - length
    sent = 0
    for row in rows:
        if stop is not None and stop.is_set():
            break
        captured_at = start_at + timedelta(seconds=(row.captured_at - first).total_seconds() / settings.speed)
        frame = replace(
            archive.read(row), camera_id=settings.send_as, captured_at=captured_at, traceparent=new_traceparent()
        )
        producer.send(platform.frames_topic, encode_frame(frame))
        sent += 1
    producer.flush()
    return sent
