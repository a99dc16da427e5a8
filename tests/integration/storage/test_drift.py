"""Drift checks on what the platform's own writers have stored, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
import pytest

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.monitoring import alerts
from pathcast.monitoring.alerts import announce
from pathcast.monitoring.check import Finding, check_signals
from pathcast.monitoring.definition import Monitoring
from pathcast.monitoring.retraining import Trigger, claim_run, note_end, training_of, why_not
from pathcast.monitoring.settings import MonitorSettings
from pathcast.monitoring.signals import BOX_HEIGHT, BRIGHTNESS, OBJECTS, SCORE, SHARPNESS
from pathcast.monitoring.store import (
    Alarm,
    accept,
    message_sent,
    open_alarms,
    owed_alarms,
    read_latest_findings,
    store_findings,
)
from pathcast.monitoring.verdict import Judgement, Span, Verdict
from pathcast.storage.model_versions import StoredModelVersion, TrainingTracks, write_model_version
from pathcast.training.forecaster import FAMILY
from pathcast.training.signs import FAMILY as SIGNS
from tests.support.walkers import walk

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
REFERENCE = 7 * MINUTE
PATHS = FAMILY.monitoring.changed({"window_minutes": 1, "reference_hours": 7 / 60})
FRAMES = Monitoring((BRIGHTNESS, SHARPNESS, OBJECTS, BOX_HEIGHT, SCORE), window=MINUTE, reference=REFERENCE)
_hours = count()


@pytest.fixture
def start() -> datetime:
    """An hour of its own for each test, away from those of other tests."""
    return datetime(2031, 3, 1, tzinfo=UTC) + next(_hours) * timedelta(hours=1)


@pytest.fixture
def seven_minutes(connection: psycopg.Connection, camera_id: str, start: datetime) -> datetime:
    """Seven minutes as ever; the moment after them."""
    walk(connection, camera_id, start, REFERENCE)
    return start + REFERENCE


def checked(
    connection: psycopg.Connection, family: str, monitoring: Monitoring, until: datetime, camera_id: str
) -> list[Finding]:
    return [each.finding for each in check_signals(connection, family, monitoring, until, [camera_id])]


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.signal: finding.judgement.verdict for finding in findings}


def test_walkers_a_half_faster_alarm_within_a_window(
    connection: psycopg.Connection, camera_id: str, seven_minutes: datetime
) -> None:
    walk(connection, camera_id, seven_minutes, MINUTE, seed=1)
    walk(connection, camera_id, seven_minutes + MINUTE, MINUTE, pace=1.6, seed=2)
    as_ever = checked(connection, "forecaster", PATHS, seven_minutes + MINUTE, camera_id)
    assert verdicts(as_ever) == {"speed": "normal", "forecast_error": "normal", "forecast_skill": "normal"}
    faster = checked(connection, "forecaster", PATHS, seven_minutes + 2 * MINUTE, camera_id)
    assert verdicts(faster) == {"speed": "alarm", "forecast_error": "alarm", "forecast_skill": "normal"}
    speed, error, _ = (finding.judgement for finding in faster)
    assert speed.value / speed.reference == pytest.approx(1.6, rel=0.15)
    assert error.distance == pytest.approx(0.6, abs=0.3)
    assert {finding.model_version for finding in faster} == {"1"}


@pytest.mark.parametrize(
    ("change", "alarming"),
    [
        ({}, set()),
        ({"brightness": 60.0, "box_height": 0.3}, {"brightness", "box_height"}),
    ],
)
def test_what_the_frames_show_alarms(
    connection: psycopg.Connection,
    camera_id: str,
    seven_minutes: datetime,
    change: dict[str, float],
    alarming: set[str],
) -> None:
    walk(connection, camera_id, seven_minutes, MINUTE, seed=1, **change)
    found = checked(connection, "detector", FRAMES, seven_minutes + MINUTE, camera_id)
    assert {finding.signal for finding in found if finding.alarm} == alarming
    assert {finding.judgement.verdict for finding in found} <= {"alarm", "normal"}
    assert [finding.model_version for finding in found] == ["1"] * 5


def test_too_little_is_unknown_and_an_unknown_camera_is_refused(
    connection: psycopg.Connection, camera_id: str, seven_minutes: datetime
) -> None:
    early = checked(connection, "detector", FRAMES, seven_minutes - 5 * MINUTE, camera_id)
    assert set(verdicts(early).values()) == {"unknown"}
    assert "1 windows of the reference have enough samples, 4 are needed" in str(early[0])
    later = checked(connection, "forecaster", PATHS, seven_minutes + 30 * MINUTE, camera_id)
    assert verdicts(later) == {"speed": "unknown", "forecast_error": "unknown", "forecast_skill": "unknown"}
    with pytest.raises(InvalidInputError, match="camera nowhere: expected a camera with observations"):
        checked(connection, "detector", FRAMES, seven_minutes, "nowhere")


def test_a_change_that_lasts_stays_an_alarm_until_it_is_accepted_or_learned(
    connection: psycopg.Connection, camera_id: str, seven_minutes: datetime
) -> None:
    """Windows that alarmed are no reference; what a new version has learned from is."""
    changed = seven_minutes
    walk(connection, camera_id, changed, 6 * MINUTE, pace=1.6, seed=1)

    def at(minute: int, version: str = "1") -> str:
        found = checked(connection, "forecaster", PATHS, changed + minute * MINUTE, camera_id)
        assert {finding.model_version for finding in found} == {version}
        store_findings(connection, found)
        return verdicts(found)["speed"]

    assert [at(minute) for minute in (1, 2, 3)] == ["alarm"] * 3
    (alarm,) = [each for each in open_alarms(connection, "forecaster") if each.camera_id == camera_id]
    assert (alarm.since, alarm.last_seen) == (changed, changed + 3 * MINUTE)
    assert accept(connection, "forecaster", [camera_id]) > 0
    assert at(4) == "normal"
    assert [each for each in open_alarms(connection, "forecaster") if each.camera_id == camera_id] == []
    newer = f"2-{camera_id}"
    # Another version that has learned from five of these minutes finds the sixth as it should be.
    walk(connection, camera_id, changed + 6 * MINUTE, MINUTE, pace=1.6, seed=2, version=newer)
    spans = [TrainingTracks(camera_id, changed, changed + 5 * MINUTE, 10)]
    write_model_version(connection, StoredModelVersion("forecaster", newer, "0" * 64, {}, spans))
    assert at(7, newer) == "normal"


def test_findings_alarms_and_messages_come_once(
    connection: psycopg.Connection, camera_id: str, seven_minutes: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk(connection, camera_id, seven_minutes, 2 * MINUTE, seed=1, brightness=60)
    walk(connection, camera_id, seven_minutes + 2 * MINUTE, MINUTE, seed=2)
    said: list[str] = []
    working = [False]

    def webhook(_address: str, message: alerts.Message) -> None:
        if not working[0]:
            raise PathcastError("the webhook answered 503")
        said.append(message.title)

    monkeypatch.setattr(alerts, "_to_webhook", webhook)
    family = f"detector-{camera_id}"
    settings = MonitorSettings(webhook_url="https://hooks.example")

    def check(minute: int) -> None:
        found = checked(connection, "detector", FRAMES, seven_minutes + minute * MINUTE, camera_id)
        for _ in range(2):
            store_findings(connection, [replace(finding, family=family) for finding in found])

    check(1)
    with pytest.raises(PathcastError, match="alerts: the webhook answered 503"):
        announce(connection, family, settings)
    working[0] = True
    for minute in (1, 2, 3, 3, 2):
        check(minute)
        for _ in range(2):
            announce(connection, family, settings)
    assert said == [
        f"Pathcast: {family} at camera {camera_id} is not what it was",
        f"Pathcast: {family} at camera {camera_id} is as usual again",
    ]
    rows = connection.execute("SELECT count(*) FROM drift_findings WHERE family = %s", (family,)).fetchone()
    assert rows == (3 * 5,)
    assert open_alarms(connection, family) == []


def found_by(camera_id: str, since: datetime, until: datetime, **said: Verdict) -> list[Finding]:
    """What a check of that window says of each signal."""
    judgements = {name: Judgement(verdict, f"{verdict} it is", 1, 2, 3, 1, 99, 5) for name, verdict in said.items()}
    window = Span(since, until)
    return [Finding("toy", camera_id, name, window, "1", judgement) for name, judgement in judgements.items()]


def alarms_at(connection: psycopg.Connection, camera_id: str) -> list[Alarm]:
    return [each for each in open_alarms(connection, "toy") if each.camera_id == camera_id]


@pytest.mark.parametrize(
    ("then", "is_open"),
    [
        ([{"speed": "normal", "error": "normal"}], False),
        ([{"speed": "unknown", "error": "normal"}], True),
        # Nobody walks: the light, which never alarmed, tells nothing of how they walk.
        ([{"speed": "unknown", "light": "normal"}], True),
        ([{"speed": "unknown", "light": "normal"}, {"speed": "normal", "light": "unknown"}], False),
        ([{"speed": "normal", "error": "alarm"}, {"speed": "unknown", "error": "normal"}], False),
        ([{"speed": "unknown", "error": "alarm"}, {"speed": "unknown", "error": "normal"}], True),
        # No longer watched.
        ([{"light": "normal"}], False),
        ([{"light": "unknown"}], True),
    ],
)
def test_an_alarm_is_over_when_what_alarmed_is_known_to_be_good(
    connection: psycopg.Connection, camera_id: str, start: datetime, then: list[dict[str, Verdict]], is_open: bool
) -> None:
    for minute, said in enumerate([{"speed": "alarm", "error": "normal", "light": "normal"}, *then]):
        since = start + minute * MINUTE
        for _ in range(2):
            store_findings(connection, found_by(camera_id, since, since + MINUTE, **said))
    assert bool(alarms_at(connection, camera_id)) is is_open


def test_an_alarm_that_was_accepted_needs_no_good_window_of_its_own(
    connection: psycopg.Connection, camera_id: str, start: datetime
) -> None:
    store_findings(connection, found_by(camera_id, start, start + MINUTE, speed="alarm"))
    accept(connection, "toy", [camera_id])
    later = found_by(camera_id, start + MINUTE, start + 2 * MINUTE, speed="unknown", light="normal")
    store_findings(connection, later)
    assert alarms_at(connection, camera_id) == []


@pytest.mark.parametrize("told", [False, True])
def test_a_longer_window_opens_an_alarm_again_that_began_with_it(
    connection: psycopg.Connection, camera_id: str, start: datetime, told: bool
) -> None:
    def check(since: int, until: int, verdict: Verdict) -> None:
        window = (start + since * MINUTE, start + until * MINUTE)
        store_findings(connection, found_by(camera_id, *window, speed=verdict))

    def owed() -> list[Alarm]:
        return [each for each in owed_alarms(connection, "toy") if each.camera_id == camera_id]

    check(0, 1, "alarm")
    for alarm in owed():
        message_sent(connection, alarm)
    check(1, 2, "normal")
    assert alarms_at(connection, camera_id) == []
    if told:
        for alarm in owed():
            message_sent(connection, alarm)
    for _ in range(2):
        check(0, 3, "alarm")
        check(1, 2, "normal")
    (alarm,) = alarms_at(connection, camera_id)
    assert (alarm.since, alarm.last_seen) == (start, start + 3 * MINUTE)
    # Whoever was told that it is over is told again that it is not.
    assert owed() == ([alarm] if told else [])


def test_a_window_of_the_future_drops_no_findings(connection: psycopg.Connection, camera_id: str) -> None:
    now = datetime.now(UTC)
    for since in (now - timedelta(days=399), now + timedelta(days=300)):
        store_findings(connection, found_by(camera_id, since, since + MINUTE, speed="normal"))
    count = "SELECT count(*) FROM drift_findings WHERE camera_id = %s"
    assert connection.execute(count, (camera_id,)).fetchone() == (2,)
    store_findings(
        connection, found_by(camera_id, now - timedelta(days=401), now - timedelta(days=401), speed="normal")
    )
    store_findings(connection, found_by(camera_id, now - MINUTE, now, speed="normal"))
    assert connection.execute(count, (camera_id,)).fetchone() == (3,)


def test_the_latest_findings_are_read_back_as_they_were(connection: psycopg.Connection, camera_id: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    walk(connection, camera_id, now - 8 * MINUTE, 8 * MINUTE)
    for until in (now - MINUTE, now):
        found = checked(connection, "detector", FRAMES, until, camera_id)
        store_findings(connection, found)
    latest = [each for each in read_latest_findings(connection) if each.camera_id == camera_id]
    assert latest == sorted(found, key=lambda finding: finding.signal)


def test_drift_starts_a_training_once_a_window_with_a_cool_down_and_a_cap(connection: psycopg.Connection) -> None:
    limits = MonitorSettings(cool_down_hours=2, runs_a_day=3)
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def ask(family: str, hours: float, ended: bool | None = True, run: str = "") -> str | None:
        """What a run is answered; `ended` says how it ends, None: not."""
        moment = noon + timedelta(hours=hours)
        trigger = Trigger(family, moment, "speed at gate-1", run or f"run-{family}-{hours}", "tests", "here")
        expected = None if run else why_not(connection, family, moment, moment, limits)
        refusal = claim_run(connection, trigger, moment, limits)
        assert run or refusal == expected
        if refusal is None and ended is not None:
            note_end(connection, family, trigger.run, moment, succeeded=ended)
        return refusal

    assert ask("toy", 0) is None
    assert "this window has started one already" in ask("toy", 0, run="another")
    assert "less than 2:00:00 ago" in ask("toy", 1.9)
    assert ask("other", 0.1) is None
    assert ask("toy", 2, ended=None) is None
    assert "one is under way since 2026-03-01 14:00 UTC" in ask("toy", 5)
    # The step of a run may be repeated, and later.
    assert ask("toy", 5, ended=None, run="run-toy-2") is None
    assert "one is under way since 2026-03-01 14:00 UTC" in ask("toy", 37)
    # Lost with its machine, it holds the next one up until no run lasts that long.
    assert ask("toy", 39, ended=False) is None
    assert ask("toy", 42) is None
    assert ask("toy", 45) is None
    assert "3 have started within a day, 3 are allowed" in ask("toy", 50)
    assert ask("toy", 63.5) is None
    note_end(connection, "toy", "a run by force", noon, succeeded=False)
    rows = connection.execute(
        "SELECT status, run, reason, triggered_by, ended_at IS NOT NULL FROM retraining_runs "
        "WHERE family = 'toy' ORDER BY window_end"
    ).fetchall()
    assert rows == [
        ("succeeded", "run-toy-0", "speed at gate-1", "tests", True),
        ("started", "run-toy-2", "speed at gate-1", "tests", False),
        ("failed", "run-toy-39", "speed at gate-1", "tests", True),
        ("succeeded", "run-toy-42", "speed at gate-1", "tests", True),
        ("succeeded", "run-toy-45", "speed at gate-1", "tests", True),
        ("succeeded", "run-toy-63.5", "speed at gate-1", "tests", True),
    ]
    assert training_of(connection, "toy", noon + timedelta(hours=39)) == "failed"
    assert training_of(connection, "toy", noon + timedelta(hours=50)) is None


def test_other_signs_and_less_sure_ones_alarm(connection: psycopg.Connection, camera_id: str, start: datetime) -> None:
    signs = SIGNS.monitoring.changed({"window_minutes": 1, "reference_hours": 7 / 60})
    walk(connection, camera_id, start, REFERENCE, kinds=(1, 2, 14))
    until = start + REFERENCE
    windows = ({"kinds": (1, 2, 14)}, {"kinds": (1, 2, 38)}, {"kinds": (1, 2, 14), "sureness": 0.6})
    found = []
    for number, window in enumerate(windows):
        walk(connection, camera_id, until + number * MINUTE, MINUTE, seed=number + 1, **window)
        end = until + (number + 1) * MINUTE
        found.append({each.signal: each.judgement for each in checked(connection, "signs", signs, end, camera_id)})
    assert [{name: each.verdict for name, each in window.items()} for window in found] == [
        {"sureness": "normal", "kinds": "normal"},
        {"sureness": "normal", "kinds": "alarm"},
        {"sureness": "alarm", "kinds": "normal"},
    ]
    assert found[1]["kinds"].distance == pytest.approx(1 / 3, abs=0.1)
