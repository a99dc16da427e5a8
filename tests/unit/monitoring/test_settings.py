from __future__ import annotations

import json
from datetime import timedelta

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import from_environment
from pathcast.monitoring.definition import Monitoring
from pathcast.monitoring.settings import MonitorSettings

KNOWN = ("detector", "forecaster")


def definition(monkeypatch: pytest.MonkeyPatch, definitions: object, family: str = "detector") -> Monitoring:
    monkeypatch.setenv("PATHCAST_MONITOR_DEFINITIONS", json.dumps(definitions))
    return from_environment(MonitorSettings).definition_of(family, Monitoring(), KNOWN)


@pytest.mark.parametrize(
    ("definitions", "minutes"),
    [
        ({}, 60),
        ({"forecaster": {"window_minutes": 30}}, 60),
        ({"detector": {"window_minutes": 30}}, 30),
        ({"detector": {"window_minutes": 30}, "forecaster": {"min_windows": 1}}, 30),
    ],
)
def test_a_family_has_its_own_changes(monkeypatch: pytest.MonkeyPatch, definitions: object, minutes: int) -> None:
    assert definition(monkeypatch, definitions).window == timedelta(minutes=minutes)


def test_a_family_from_outside_may_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert definition(monkeypatch, {"mine": {"looks": 5}}, "mine").looks == 5


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        ({"detectr": {"min_windows": 4}}, "expected families of detector, forecaster, got detectr"),
        ({"detector": {}, "b": {}, "a": {}}, "expected families of detector, forecaster, got a, b"),
        ({"detector": {"looks": 0}}, "detector: looks: expected a whole number from 1 to 1000000, got 0"),
        ({"detector": {"look": 9}}, "detector: expected settings of .*, got look"),
        ({"detector": {"signals": {"speed": 1}}}, "detector: signals: expected signals of none, got speed"),
    ],
)
def test_wrong_definitions_are_refused_by_family_and_field(
    monkeypatch: pytest.MonkeyPatch, definitions: object, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^PATHCAST_MONITOR_DEFINITIONS: {message}$"):
        definition(monkeypatch, definitions)
