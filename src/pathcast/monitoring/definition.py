"""What bad performance means for a family: which stored signals are watched, how, and from when on they alarm.

A family says it in its own definition; a family from outside may bring signals of its own (a reader and a distance).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array
from pathcast.core.errors import InvalidInputError

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """A signal's values: `at` (n,) seconds since the Unix epoch, `value` (n,) in the signal's unit, `weight` (n,).

    Of a signal of vectors `value` is (n, d).
    """

    at: Float64Array
    value: Float64Array
    weight: Float64Array

    @classmethod
    def of(cls, rows: list[tuple[Any, ...]]) -> Samples:
        """From rows of time, value and, where values do not all count the same, weight."""
        at = np.array([row[0].timestamp() for row in rows], dtype=np.float64)
        value = np.array([row[1] for row in rows], dtype=np.float64)
        weight = np.array([row[2] if len(row) > 2 else 1.0 for row in rows], dtype=np.float64)
        return cls(at, value, weight)

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """One after the other."""
        if not parts:
            return cls.of([])
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("at", "value", "weight")))

    def __len__(self) -> int:
        return len(self.value)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Samples:
        """Those that a mask (n,) chooses."""
        return Samples(self.at[chosen], self.value[chosen], self.weight[chosen])

    def mean(self) -> float:
        """The weighted mean; NaN of nothing, and of vectors, whose mean is no number."""
        if not len(self) or self.value.ndim > 1:
            return float("nan")
        return float(np.average(self.value, weights=self.weight))


@dataclass(frozen=True, slots=True)
class Source:
    """Which rows a signal is read from: of `camera_id` in [since, until), of `model` in the version that serves now.

    Looks are `spacing` apart: of a span's frames, or of the times at which forecasts were made, the first in each
    stretch of that length counts. `now` is the end of the window that is judged.
    """

    model: str
    version: str
    camera_id: str
    since: datetime
    until: datetime
    spacing: timedelta
    now: datetime


Reader = Callable[["psycopg.Connection", Source], Samples]
Distance = Callable[[Samples, Samples], float]
"""How far the second samples are from the first, which are the reference."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Something stored that tells whether a model still sees the world that it knows, or still does its work.

    It alarms at a distance of `threshold` or more, if that is also beyond what windows of the reference show among
    themselves (see `judge`). Where `anchored`, the reference is the data that the serving version learned from, if
    the platform still has it. Where not `compared`, the distance needs no reference. `absent` says why there may be
    no samples at all, now and in the reference, where that is nothing to worry about.
    """

    name: str
    unit: str
    read: Reader
    distance: Distance
    threshold: float
    min_samples: int = 30
    anchored: bool = True
    compared: bool = True
    absent: str = ""


_NUMBERS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "window_minutes": ("a number from 1/60 (a second) to 5256000 (ten years)", lambda n: 1 / 60 <= n <= 5_256_000),
    "reference_hours": ("a positive number up to 87600 (ten years)", lambda n: 0 < n <= 87_600),
    "min_windows": ("a whole number of at least 2", lambda n: isinstance(n, int) and n >= 2),
    "confidence": ("a number between 0 and 1", lambda n: 0 < n < 1),
    # Of the shortest window, looks are a microsecond apart.
    "looks": ("a whole number from 1 to 1000000", lambda n: isinstance(n, int) and 1 <= n <= 1_000_000),
}
"""The numbers of `Monitoring` that configuration may change, what each has to be, and whether a number is that."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Bad performance of a family: an alarm of any of its signals, at a camera, in a window.

    The reference is cut into windows as long as the one that is judged; `min_windows` of them must have enough
    samples (at least 2). A distance must be beyond what another such window reaches with `confidence`. Up to `looks`
    frames or forecast times of a window are read.
    """

    signals: tuple[Signal, ...] = ()
    window: timedelta = timedelta(hours=1)
    reference: timedelta = timedelta(days=7)
    min_windows: int = 4
    confidence: float = 0.995
    looks: int = 120

    def changed(self, changes: Mapping[str, Any]) -> Monitoring:
        """With other numbers, as configuration gives them.

        window_minutes, reference_hours, min_windows, confidence, looks, and `signals`, a mapping of names to
        thresholds (null: not watched). Raises InvalidInputError, naming the setting, where one is unknown or wrong.
        """
        if unknown := set(changes) - {*_NUMBERS, "signals"}:
            known = ", ".join(sorted({*_NUMBERS, "signals"}))
            raise InvalidInputError(f"expected settings of {known}, got {', '.join(sorted(unknown))}")
        for name, (expected, fits) in _NUMBERS.items():
            if name in changes and not (_is_number(changes[name]) and fits(changes[name])):
                raise InvalidInputError(f"{name}: expected {expected}, got {changes[name]!r}")
        thresholds = changes.get("signals", {})
        if not isinstance(thresholds, Mapping):
            raise InvalidInputError(f"signals: expected a mapping of names to thresholds, got {thresholds!r}")
        names = {signal.name for signal in self.signals}
        if unknown := set(thresholds) - names:
            raise InvalidInputError(
                f"signals: expected signals of {', '.join(sorted(names)) or 'none'}, got {', '.join(sorted(unknown))}"
            )
        for name, threshold in thresholds.items():
            if threshold is not None and not _is_number(threshold):
                raise InvalidInputError(f"signals: {name}: expected a finite number or null, got {threshold!r}")
        chosen = [
            replace(signal, threshold=float(thresholds.get(signal.name, signal.threshold)))
            for signal in self.signals
            if thresholds.get(signal.name, signal.threshold) is not None
        ]
        numbers = {name: changes[name] for name in ("min_windows", "confidence", "looks") if name in changes}
        if "window_minutes" in changes:
            numbers["window"] = timedelta(minutes=float(changes["window_minutes"]))
        if "reference_hours" in changes:
            numbers["reference"] = timedelta(hours=float(changes["reference_hours"]))
        return replace(self, signals=tuple(chosen), **numbers)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and abs(given) <= sys.float_info.max
