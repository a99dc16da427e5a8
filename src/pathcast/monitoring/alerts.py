"""Telling people: once when a model's trouble begins, once when it is over. By log, webhook, mail, chat."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPException

import psycopg
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.monitoring.outbox import Message, delivered, owed
from pathcast.monitoring.settings import MonitorSettings
from pathcast.monitoring.store import Alarm, message_sent, owed_alarms

TIMEOUT_S = 10.0
ATTEMPTS = 3
_PAUSE_S = 1.0

_log = logging.getLogger("drift")


Channel = Callable[[Message], None]
"""Delivers a message, or raises PathcastError; the error never holds the address, which may hold a password."""


class _UnreachableError(ServiceUnavailableError):
    """Nobody answers, which takes as long as is waited for an answer."""


def message_about(alarm: Alarm) -> Message:
    """The words for an alarm that has begun, or is over; times in the facts are ISO 8601, UTC."""
    where = f"{alarm.family} at camera {alarm.camera_id}"
    facts = {
        "event": "alarm" if alarm.recovered_at is None else "recovered",
        "family": alarm.family,
        "camera_id": alarm.camera_id,
        "since": alarm.since.isoformat(),
        "last_seen": alarm.last_seen.isoformat(),
        "recovered_at": None if alarm.recovered_at is None else alarm.recovered_at.isoformat(),
        "reason": alarm.reason,
    }
    if alarm.recovered_at is not None:
        lasted = alarm.recovered_at - alarm.since
        return Message(
            f"Pathcast: {where} is as usual again",
            f"Since {alarm.recovered_at:%Y-%m-%d %H:%M} UTC; it was off for {lasted}. Nothing is to be done.",
            facts,
        )
    show = f"pathcast drift --family {alarm.family} --camera {alarm.camera_id}"
    return Message(
        f"Pathcast: {where} is not what it was",
        f"Since {alarm.since:%Y-%m-%d %H:%M} UTC: {alarm.reason}.\n"
        f"Next: look at the camera and at `{show} --report drift.html`. A lens, a light or a position can be mended. "
        f"If the world has changed for good, `{show} --retrain` trains on it; if the models do well all the same, "
        f"`{show} --accept`.",
        facts,
    )


def announce(connection: psycopg.Connection, family: str, settings: MonitorSettings) -> list[Message]:
    """Send what is owed about the family, through every channel that is set; the messages that were sent.

    A message counts as sent when all channels have taken it; one that has not is owed still, and whoever calls this
    next sends it again, to all. A channel that cannot be reached is left out from then on. Raises PathcastError at the
    end, naming the channels that failed.
    """
    waiting = [
        (message_about(alarm), partial(message_sent, connection, alarm)) for alarm in owed_alarms(connection, family)
    ]
    waiting += [
        (message, partial(delivered, connection, number)) for number, message in owed(connection, family).items()
    ]
    sent, failures = [], []
    everyone = reachable = channels(settings)
    for message, arrived in waiting:
        failed = _deliver(message, reachable)
        failures += [error.message for error in failed.values()]
        reachable = [channel for channel in reachable if not isinstance(failed.get(channel), _UnreachableError)]
        if not failed and len(reachable) == len(everyone):
            arrived()
            sent.append(message)
    if failures:
        raise PathcastError(
            f"alerts: {'; '.join(dict.fromkeys(failures))}",
            hint="see PATHCAST_MONITOR_WEBHOOK_URL and PATHCAST_MONITOR_APPRISE_URLS; the next check tries again",
        )
    return sent


def channels(settings: MonitorSettings) -> list[Channel]:
    """The log, and what the settings name besides."""
    found: list[Channel] = [_to_log]
    if webhook := settings.webhook_url.get_secret_value():
        found.append(lambda message: _to_webhook(webhook, message))
    if addresses := settings.apprise_urls.get_secret_value().split():
        found.append(lambda message: _to_apprise(addresses, message))
    return found


def deliver(message: Message, settings: MonitorSettings) -> list[str]:
    """Send the message through every channel that is set; what went wrong, without addresses."""
    return [error.message for error in _deliver(message, channels(settings)).values()]


def _deliver(message: Message, through: Sequence[Channel]) -> dict[Channel, PathcastError]:
    """What went wrong, by channel."""
    failed = {}
    for channel in through:
        try:
            channel(message)
        except PathcastError as error:
            failed[channel] = error
    return failed


def _to_log(message: Message) -> None:
    level = logging.INFO if message.recovered else logging.WARNING
    _log.log(level, "%s. %s", message.title, message.text.replace("\n", " "))


@retry(
    retry=retry_if_exception_type(ServiceUnavailableError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_fixed(_PAUSE_S),
    reraise=True,
)
def _to_webhook(address: str, message: Message) -> None:
    if not address.startswith(("http://", "https://")):
        raise PathcastError("the webhook's address: expected http:// or https://")
    try:
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            address, message.as_json(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        kind = ServiceUnavailableError if error.code >= 500 or error.code == 429 else PathcastError
        raise kind(f"the webhook answered {error.code}") from None
    except (OSError, ValueError, HTTPException) as error:
        # Some of these quote the address.
        raise _UnreachableError(f"the webhook cannot be reached: {type(error).__name__}") from None


def _to_apprise(addresses: list[str], message: Message) -> None:
    try:
        import apprise
    except ImportError as error:
        raise PathcastError(f"Apprise is not installed: {error}; pip install 'pathcast[monitor]'") from error
    # It would log addresses.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    kind = apprise.NotifyType.SUCCESS if message.recovered else apprise.NotifyType.WARNING
    for number, address in enumerate(addresses, start=1):
        service = apprise.Apprise()
        if not service.add(address):
            raise PathcastError(f"Apprise does not understand address {number} of {len(addresses)}")
        if not service.notify(body=message.text, title=message.title, notify_type=kind):
            raise PathcastError(f"Apprise could not deliver to address {number} of {len(addresses)}")
