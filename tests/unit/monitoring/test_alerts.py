"""Messages and their channels, against a real HTTP server."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from urllib.error import HTTPError

import pytest
from pydantic import SecretStr

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.monitoring import alerts
from pathcast.monitoring.alerts import channels, message_about
from pathcast.monitoring.settings import MonitorSettings
from pathcast.monitoring.store import Alarm
from tests.support.webhook import Receiver, receiving

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPEN = Alarm("forecaster", "gate-1", SINCE, SINCE + timedelta(hours=2), "speed 2.1, was 1.3", None)
OVER = replace(OPEN, recovered_at=SINCE + timedelta(hours=3))


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts._to_webhook.retry, "wait", lambda _state: 0)
    with receiving() as server:
        yield server


def deliver(alarm: Alarm, **settings: str) -> None:
    monitor = MonitorSettings(**{name: SecretStr(value) for name, value in settings.items()})
    for channel in channels(monitor):
        channel(message_about(alarm))


def test_a_webhook_gets_what_where_since_when_and_what_to_do(receiver: Receiver) -> None:
    deliver(OPEN, webhook_url=receiver.address)
    deliver(OVER, webhook_url=receiver.address)
    (path, kind, begun), (_, _, over) = receiver.received
    assert (path, kind) == ("/hook?token=secretword", "application/json")
    assert {name: begun[name] for name in ("event", "family", "camera_id", "since", "reason", "recovered_at")} == {
        "event": "alarm",
        "family": "forecaster",
        "camera_id": "gate-1",
        "since": "2026-03-01T12:00:00+00:00",
        "reason": "speed 2.1, was 1.3",
        "recovered_at": None,
    }
    assert "Since 2026-03-01 12:00 UTC: speed 2.1, was 1.3" in begun["text"]
    assert "pathcast drift --family forecaster --camera gate-1 --retrain" in begun["text"]
    assert (over["event"], over["recovered_at"]) == ("recovered", "2026-03-01T15:00:00+00:00")
    assert "off for 3:00:00" in over["text"]


@pytest.mark.parametrize(
    ("answers", "deliveries", "error"),
    [
        ([500, 429, 204], 3, None),
        ([503], 3, (ServiceUnavailableError, "the webhook answered 503")),
        ([404], 1, (PathcastError, "the webhook answered 404")),
    ],
)
def test_a_webhook_that_fails_is_asked_again_where_that_may_help(
    receiver: Receiver, answers: list[int], deliveries: int, error: tuple[type[Exception], str] | None
) -> None:
    receiver.answers = answers
    if error is None:
        deliver(OPEN, webhook_url=receiver.address)
    else:
        with pytest.raises(error[0], match=error[1]):
            deliver(OPEN, webhook_url=receiver.address)
    assert len(receiver.received) == deliveries


def test_apprise_delivers(receiver: Receiver) -> None:
    deliver(OPEN, apprise_urls=f"json://127.0.0.1:{receiver.server_port}/a json://127.0.0.1:{receiver.server_port}/b")
    assert [path for path, _, _ in receiver.received] == ["/a", "/b"]
    assert {body["type"] for _, _, body in receiver.received} == {"warning"}
    assert "speed 2.1" in receiver.received[0][2]["message"]


@pytest.mark.parametrize(
    "settings",
    [
        {"webhook_url": "ftp://user:secretword@127.0.0.1/"},
        {"webhook_url": "http://user:secretword@127.0.0.1:1/"},
        {"webhook_url": "http://127.0.0.1:secretword/"},
        {"apprise_urls": "nowhere://secretword@x"},
        {"apprise_urls": "json://user:secretword@127.0.0.1:1/"},
    ],
)
def test_no_address_is_ever_shown(
    settings: dict[str, str], receiver: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PathcastError) as caught:
        deliver(OPEN, **settings)
    shown = [caught.value, caught.value.__cause__, MonitorSettings(**settings), caplog.text, capfd.readouterr()]
    assert "secretword" not in repr(shown)


def test_the_log_always_tells(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    deliver(OPEN)
    deliver(OVER)
    assert [(record.levelname, record.name) for record in caplog.records] == [("WARNING", "drift"), ("INFO", "drift")]
    assert "forecaster at camera gate-1 is not what it was" in caplog.text


@pytest.mark.parametrize(
    ("failure", "attempts", "reason"),
    [
        (TimeoutError(), 3, "the webhook cannot be reached: TimeoutError"),
        # It answers soon, and may answer otherwise to the next message.
        (HTTPError("", 503, "", Message(), None), 6, "the webhook answered 503"),
    ],
)
def test_a_channel_that_cannot_be_reached_is_tried_once(
    failure: Exception, attempts: int, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, arrived = [], []

    def fails(request: object, timeout: float) -> None:
        asked.append(request)
        raise failure

    monkeypatch.setattr(alerts._to_webhook.retry, "wait", lambda _state: 0)
    monkeypatch.setattr(alerts.urllib.request, "urlopen", fails)
    monkeypatch.setattr(alerts, "owed_alarms", lambda *_: [OPEN, replace(OPEN, camera_id="gate-2")])
    monkeypatch.setattr(alerts, "owed", lambda *_: {})
    monkeypatch.setattr(alerts, "message_sent", lambda _, alarm: arrived.append(alarm))
    with pytest.raises(PathcastError) as caught:
        alerts.announce(None, "forecaster", MonitorSettings(webhook_url=SecretStr("http://127.0.0.1/")))  # type: ignore[arg-type]
    assert caught.value.message == f"alerts: {reason}"
    assert (len(asked), arrived) == (attempts, [])
    assert "gate-2" in caplog.text
