"""Distances and verdicts, on samples whose truth is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.definition import Monitoring, Samples, Signal
from pathcast.monitoring.distances import Shift, growth, level, mixture, turn
from pathcast.monitoring.verdict import Span, cut, judge, split

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SHIFT = Shift(0.01)
WATCHED = Monitoring(min_windows=4, confidence=0.999)


def samples(values, weights=None, at=None):
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    return Samples(np.zeros(len(values)) if at is None else np.asarray(at, np.float64), values, weights)


def signal(distance=SHIFT, threshold=0.5, compared=True):
    return Signal("speed", "m/s", lambda *_: samples([]), distance, threshold, 30, compared=compared)


def windows(count, size=100, mean=1.0, swing=0.0, seed=0):
    """`count` windows whose means swing by themselves."""
    random = np.random.default_rng(seed)
    return [samples(random.normal(mean + swing * (index % 2), 0.3, size)) for index in range(count)]


@pytest.mark.parametrize(
    ("distance", "reference", "current", "expected"),
    [
        (SHIFT, samples([0, 2]), samples([3, 5]), 3.0),
        (SHIFT, samples([0, 2]), samples([0, 2, 0, 2]), 0.0),
        (SHIFT, samples([5, 5]), samples([5, 5]), 0.0),
        (Shift(2.0), samples([0, 2]), samples([3, 5]), 1.5),
        (growth, samples([1, 3]), samples([2, 4.4]), 0.6),
        (mixture, samples([7, 7, 9, 9]), samples([9, 7]), 0.0),
        (mixture, samples([7, 7, 9, 9]), samples([9, 9]), 0.5),
        (mixture, samples([7, 7]), samples([8]), 1.0),
        (mixture, samples([7, 9], [3, 1]), samples([7, 9], [1, 1]), 0.25),
        (growth, samples([2, 2]), samples([1, 1]), -0.5),
        (growth, samples([0, 0]), samples([0, 0]), 0.0),
        (growth, samples([0, 0]), samples([1, 0]), float("inf")),
        (growth, samples([1, 9], [1, 0]), samples([2, 9], [1, 0]), 1.0),
        (turn, samples([[2, 0], [0, 2]]), samples([[3, 3]]), 0.0),
        (turn, samples([[1, 0], [1, 0]]), samples([[0, 1]]), 1.0),
        (turn, samples([[1, 0]]), samples([[-3, 0]]), 2.0),
        (level, samples([1]), samples([2, 0.5], [1, 3]), 0.875),
    ],
)
def test_distances(distance, reference, current, expected):
    assert distance(reference, current) == pytest.approx(expected)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(-1e3, 1e3), st.floats(0.1, 100))
def test_a_shift_is_the_same_in_every_unit(values, offset, scale):
    reference = np.array(values)
    if reference.std() < 0.1:
        return
    before = SHIFT(samples(reference), samples(reference + 1))
    assert SHIFT(samples(reference * scale), samples((reference + 1) * scale)) == pytest.approx(before, rel=1e-6)
    assert SHIFT(samples(reference + offset), samples(reference + offset + 1)) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize(("pace", "verdict"), [(1.0, "normal"), (1.05, "normal"), (1.6, "alarm"), (0.5, "alarm")])
def test_an_alarm_is_a_change_that_the_reference_does_not_show(pace, verdict):
    judged = judge(signal(), WATCHED, windows(6), samples(windows(1, seed=9)[0].value * pace))
    assert judged.verdict == verdict
    assert (judged.samples, judged.windows) == (100, 6)
    assert judged.value == pytest.approx(pace, abs=0.1)
    assert judged.reference == pytest.approx(1.0, abs=0.1)
    assert judged.threshold == 0.5


def test_what_swings_by_itself_has_to_swing_further():
    swinging = windows(8, swing=1.0)
    far, farther = samples(np.full(50, 2.0)), samples(np.full(50, 4.0))
    assert judge(signal(), WATCHED, windows(8), far).verdict == "alarm"
    usual = judge(signal(), WATCHED, swinging, far)
    assert usual.verdict == "normal"
    assert usual.threshold > 0.5
    assert judge(signal(), WATCHED, swinging, farther).verdict == "alarm"


@pytest.mark.parametrize(
    ("reference", "current", "why"),
    [
        (windows(6), samples([]), "0 samples, 30 are needed"),
        (windows(6), samples(np.ones(29)), "29 samples, 30 are needed"),
        (windows(3), samples(np.ones(50)), "3 windows of the reference have enough samples, 4 are needed"),
        ([], samples(np.ones(50)), "0 windows of the reference have enough samples, 4 are needed"),
    ],
)
def test_too_little_is_no_verdict(reference, current, why):
    judged = judge(signal(), WATCHED, reference, current)
    assert (judged.verdict, judged.reason, judged.distance) == ("unknown", why, None)


def looks(count, towards, seed=0):
    """`count` windows of unit vectors about a direction, each window a little aside by itself."""
    random = np.random.default_rng(seed)
    return [samples(towards + random.normal(0, 0.05, 8) + random.normal(0, 0.2, (50, 8))) for _ in range(count)]


def test_vectors_turn_away_from_the_windows_before_or_they_do_not():
    watched = signal(turn, 0.01)
    before, after = np.eye(8)[:2]
    usual = judge(watched, WATCHED, looks(8, before), looks(1, before, seed=1)[0])
    changed = judge(watched, WATCHED, looks(8, before), looks(1, 0.6 * before + 0.8 * after, seed=1)[0])
    assert (usual.verdict, changed.verdict) == ("normal", "alarm")
    assert changed.distance == pytest.approx(0.4, abs=0.1)
    assert (changed.value, changed.reference) == (None, None)
    assert changed.reason.startswith("distance 0.")


def test_undisturbed_vectors_alarm_once_in_twenty_windows_at_most():
    """Also where the signal has no threshold of its own, and stands on what windows show among themselves alone."""
    towards, alarms = np.eye(8)[0], 0
    for seed in range(200):
        *reference, current = looks(9, towards, seed=seed)
        alarms += judge(signal(turn, 0.0), Monitoring(), reference, current).verdict == "alarm"
    assert alarms <= 200 / 20


def test_what_a_model_need_not_give_is_absent_and_says_why():
    optional = replace(signal(turn), absent="no vectors")
    assert judge(optional, WATCHED, [], samples([])).reason == "no vectors"
    assert judge(optional, WATCHED, looks(6, np.ones(8)), samples([])).reason == "0 samples, 30 are needed"
    assert judge(optional, WATCHED, [], looks(1, np.ones(8))[0]).reason.startswith("0 windows of the reference")


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "normal"), (1.0, "normal"), (1.2, "alarm")])
def test_a_level_needs_no_reference(ratio, verdict):
    judged = judge(signal(level, 1.1, compared=False), WATCHED, [], samples(np.full(30, ratio)))
    assert (judged.verdict, judged.distance, judged.threshold) == (verdict, pytest.approx(ratio), 1.1)


def test_windows_end_with_the_span_and_need_enough_samples():
    span = Span(START + timedelta(seconds=30), START + 4 * MINUTE)
    blocks = cut(span, MINUTE)
    assert [block.since for block in blocks] == [START + minute * MINUTE for minute in (1, 2, 3)]
    assert cut(Span(START, START), MINUTE) == []
    at = START.timestamp() + np.array([59, 60, 119.9, 120, 180, 239, 240, 241])
    parts = split(samples(np.arange(8), at=at), blocks, min_samples=2)
    assert [part.value.tolist() for part in parts] == [[1, 2], [4, 5]]


def test_configuration_changes_numbers_and_nothing_else():
    given_signal = signal()
    monitoring = Monitoring((given_signal,))
    changed = monitoring.changed(
        {"window_minutes": 5, "reference_hours": 2, "confidence": 0.99, "signals": {"speed": 0.9}}
    )
    assert (changed.window, changed.reference, changed.confidence) == (5 * MINUTE, timedelta(hours=2), 0.99)
    assert changed.signals[0].threshold == 0.9
    assert changed.signals[0].read is given_signal.read
    assert monitoring.changed({}) == monitoring
    assert monitoring.changed({"signals": {"speed": None}}).signals == ()
    shortest = monitoring.changed({"window_minutes": 1 / 60, "looks": 1_000_000, "min_windows": 2})
    assert shortest.window / shortest.looks == timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": 3}, "expected settings of confidence, looks, .*, got windows"),
        ({"signals": {"colour": 1}}, "signals: expected signals of speed, got colour"),
        ({"signals": ["speed"]}, r"signals: expected a mapping of names to thresholds, got \['speed'\]"),
        ({"signals": None}, "signals: expected a mapping of names to thresholds, got None"),
        ({"signals": {"speed": "much"}}, "signals: speed: expected a finite number or null, got 'much'"),
        ({"signals": {"speed": float("nan")}}, "signals: speed: expected a finite number or null, got nan"),
        ({"signals": {"speed": 10**400}}, "signals: speed: expected a finite number or null, got 1000"),
        ({"signals": {"speed": True}}, "signals: speed: expected a finite number or null, got True"),
        ({"window_minutes": 0}, r"window_minutes: expected a number from 1/60 \(a second\) to 5256000 .*, got 0"),
        ({"window_minutes": -30}, "window_minutes: expected a number from .*, got -30"),
        ({"window_minutes": 1e-9}, "window_minutes: expected a number from .*, got 1e-09"),
        ({"window_minutes": 1e15}, r"window_minutes: expected a number from .*, got 1000000000000000.0"),
        ({"window_minutes": "abc"}, "window_minutes: expected a number from .*, got 'abc'"),
        ({"window_minutes": float("nan")}, "window_minutes: expected a number from .*, got nan"),
        ({"reference_hours": -1}, "reference_hours: expected a positive number up to 87600 .*, got -1"),
        ({"reference_hours": float("inf")}, "reference_hours: expected a positive number up to 87600 .*, got inf"),
        ({"min_windows": 1}, "min_windows: expected a whole number of at least 2, got 1"),
        ({"min_windows": 2.5}, "min_windows: expected a whole number of at least 2, got 2.5"),
        ({"min_windows": "four"}, "min_windows: expected a whole number of at least 2, got 'four'"),
        ({"min_windows": None}, "min_windows: expected a whole number of at least 2, got None"),
        ({"confidence": 2}, "confidence: expected a number between 0 and 1, got 2"),
        ({"confidence": 1}, "confidence: expected a number between 0 and 1, got 1"),
        ({"confidence": 0}, "confidence: expected a number between 0 and 1, got 0"),
        ({"looks": 0}, "looks: expected a whole number from 1 to 1000000, got 0"),
        ({"looks": 10**7}, "looks: expected a whole number from 1 to 1000000, got 10000000"),
    ],
)
def test_unknown_and_wrong_configuration_is_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        Monitoring((signal(),)).changed(changes)
