"""Whether a signal has moved further than it does by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from pathcast.monitoring.definition import Monitoring, Samples, Signal

Verdict = Literal["normal", "alarm", "unknown"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, since ≤ time < until."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Judgement:
    """A signal in a window.

    `reference` and `value` are means in the signal's unit, None of nothing; the `distance` alarms from `threshold`
    on. `windows` of the reference had enough samples. `reason` is one sentence.
    """

    verdict: Verdict
    reason: str
    reference: float | None
    value: float | None
    distance: float | None
    threshold: float
    samples: int
    windows: int


def judge(signal: Signal, monitoring: Monitoring, windows: Sequence[Samples], current: Samples) -> Judgement:
    """Compare `current` with the reference, given as its `windows` that have enough samples.

    Each window of the reference is compared with the rest of it in the same way, which gives the distances of
    windows in which nothing was wrong. The alarm must be beyond what the next such window reaches with `confidence`,
    by Student's prediction interval: a signal that swings by itself (by day and night, by who walks past) has to swing
    further, and few windows make it cautious. Samples follow each other closely and are not independent; windows
    nearly are.
    """
    reference = Samples.joined(windows)
    mean, value = _known(reference.mean()), _known(current.mean())

    def judged(verdict: Verdict, reason: str, threshold: float, distance: float | None = None) -> Judgement:
        return Judgement(verdict, reason, mean, value, distance, threshold, len(current), len(windows))

    if signal.absent and not len(current) and not windows:
        return judged("unknown", signal.absent, signal.threshold)
    if len(current) < signal.min_samples:
        return judged("unknown", f"{len(current)} samples, {signal.min_samples} are needed", signal.threshold)
    if not signal.compared:
        distance, threshold = signal.distance(current, current), signal.threshold
        text = f"{value:.3g} {signal.unit}: alarm from {threshold:.3g}"
    elif len(windows) < monitoring.min_windows:
        short = f"{len(windows)} windows of the reference have enough samples, {monitoring.min_windows} are needed"
        return judged("unknown", short, signal.threshold)
    else:
        distance, threshold = signal.distance(reference, current), _threshold(signal, monitoring, windows)
        means = "" if value is None or mean is None else f"{value:.3g} {signal.unit}, was {mean:.3g}: "
        text = f"{means}distance {distance:.3g}, alarm from {threshold:.3g}"
    return judged("alarm" if distance >= threshold else "normal", text, threshold, distance)


def cut(span: Span, window: timedelta) -> list[Span]:
    """`span` in windows, the last one ending with it; a rest at its beginning is left out."""
    count = span.length // window
    return [Span(span.until - (index + 1) * window, span.until - index * window) for index in reversed(range(count))]


def split(samples: Samples, blocks: Sequence[Span], min_samples: int) -> list[Samples]:
    """The samples in each of `blocks` that has at least `min_samples` of them."""
    parts = [
        samples.where((samples.at >= block.since.timestamp()) & (samples.at < block.until.timestamp()))
        for block in blocks
    ]
    return [part for part in parts if len(part) >= min_samples]


def _threshold(signal: Signal, monitoring: Monitoring, windows: Sequence[Samples]) -> float:
    """The signal's own, or what windows of the reference reach by themselves, whichever is further."""
    from scipy.stats import t as student

    usual = [
        signal.distance(Samples.joined([*windows[:index], *windows[index + 1 :]]), window)
        for index, window in enumerate(windows)
    ]
    count = len(usual)
    deviations = float(student.ppf(monitoring.confidence, count - 1)) * np.sqrt(1 + 1 / count)
    return max(signal.threshold, float(np.mean(usual) + deviations * np.std(usual, ddof=1)))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
