"""Archived frames onto the topic once more, as another camera's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from support.streaming import FPS, START, Service, frame, read_topic

from pathcast.core.errors import InvalidInputError
from pathcast.core.ground_plane import HomographyPlane
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_codec import decode_frame
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.replayer import ReplayerSettings, resend
from pathcast.storage.archive import FrameArchive
from pathcast.storage.cameras import read_camera, upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.writers import write_frames

pytestmark = pytest.mark.integration

CAMERA, COUNT = "recorded-once", 21
LATER = datetime(2026, 3, 2, tzinfo=UTC)
SPAN = {"since": START, "until": START + timedelta(seconds=COUNT / FPS)}


@pytest.fixture
def _archived(settings: PlatformSettings) -> None:
    rows = FrameArchive.connect(settings).put([frame(CAMERA, number) for number in range(COUNT)])
    with connect(settings.database_url, application_name="test") as connection:
        upsert_camera(connection, CAMERA, HomographyPlane(np.eye(3).tolist()).as_mapping())
        write_frames(connection, rows)


@pytest.mark.usefixtures("_archived")
def test_a_recording_goes_out_faster_and_as_another_camera(
    settings: PlatformSettings, producer: RecordProducer
) -> None:
    wanted = ReplayerSettings(camera=CAMERA, send_as="again", start_at=LATER, speed=1.6, **SPAN)
    assert resend(settings, wanted, producer) == COUNT
    received = [decode_frame(record) for record in read_topic(settings, settings.frames_topic, COUNT)]
    assert [each.camera_id for each in received] == ["again"] * COUNT
    assert [each.jpeg for each in received] == [frame(CAMERA, number).jpeg for number in range(COUNT)]
    for number, each in enumerate(received):
        assert abs(each.captured_at - LATER - timedelta(seconds=number / FPS / 1.6)) < timedelta(microseconds=2)
    with connect(settings.database_url, application_name="test") as connection:
        copied = read_camera(connection, "again")
    assert copied is not None
    assert copied.units == "m"


@pytest.mark.usefixtures("_archived")
def test_what_cannot_be_sent_again(settings: PlatformSettings, producer: RecordProducer) -> None:
    with pytest.raises(InvalidInputError, match="expected another camera than recorded-once"):
        resend(settings, ReplayerSettings(camera=CAMERA, send_as=CAMERA, **SPAN), producer)
    with pytest.raises(InvalidInputError, match="camera nobody: nothing is archived"):
        resend(settings, ReplayerSettings(camera="nobody", send_as="again", **SPAN), producer)


@pytest.mark.usefixtures("_archived")
def test_the_service_sends_once_and_ends(settings: PlatformSettings, service: Callable[..., Service]) -> None:
    span = {f"PATHCAST_REPLAYER_{name.upper()}": moment.isoformat() for name, moment in SPAN.items()}
    running = service("replayer", PATHCAST_REPLAYER_CAMERA=CAMERA, PATHCAST_REPLAYER_SEND_AS="once-more", **span)
    assert running.process is not None
    assert running.process.wait(60) == 0, running.text()
    received = [decode_frame(record) for record in read_topic(settings, settings.frames_topic, COUNT)]
    # By default the recording ends now.
    assert abs(received[-1].captured_at - datetime.now(UTC)) < timedelta(seconds=60)
    assert f"sent {COUNT} frames of {CAMERA} as once-more" in running.text()
