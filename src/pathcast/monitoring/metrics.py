"""What every service reports about itself, defined once.

Prometheus metrics with the labels `service`, and `camera` or `stage` where they apply. Cameras beyond
`MAX_CAMERA_LABELS` share the label `other`, so a flood of ids from outside cannot grow the memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from pathcast.monitoring.check import Finding

MAX_CAMERA_LABELS = 256
_QUANTILES = (0.5, 0.99)
_QUANTILE_METRIC = "pathcast_stage_quantile_seconds"
_COUNT_METRIC = "pathcast_stage_seconds"
# 1 ms to 10 s: from a decode to a request that waited for a rebuilt connection.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_KEPT_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class StageLatency:
    """How long one stage took; `count` samples, the quantiles over the most recent 20,000 of them."""

    p50_ms: float
    p99_ms: float
    count: int


class ServiceMetrics:
    """The metrics of one service process.

    `registry` is its own by default, so that several services can live in one process. `elapsed` tells seconds that
    only grow.
    """

    def __init__(
        self,
        service: str,
        registry: CollectorRegistry | None = None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.registry = registry or CollectorRegistry()
        self._elapsed = elapsed
        self._lock = Lock()
        self._cameras: set[str] = set()
        self._samples: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        by_camera = ("service", "camera")
        self._frames_in = Counter("pathcast_frames_in", "Records read", by_camera, registry=self.registry)
        self._frames_out = Counter("pathcast_frames_out", "Records written", by_camera, registry=self.registry)
        self._skipped = Counter(
            "pathcast_frames_skipped", "Stale frames left out on purpose", by_camera, registry=self.registry
        )
        self._dead = Counter("pathcast_dead_letters", "Records that were not processed", ("service", "topic", "reason"),
                             registry=self.registry)  # fmt: skip
        self._rebuilds = Counter("pathcast_rebuilds", "Rebuilds from durable state after an infrastructure error",
                                 ("service", "error"), registry=self.registry)  # fmt: skip
        self._lag = Gauge("pathcast_lag_seconds", "Age of the newest record when it was processed, and the time since",
                          ("service",), registry=self.registry)  # fmt: skip
        self._stage = Histogram(_COUNT_METRIC, "Time spent in a stage", ("service", "stage"), buckets=_BUCKETS,
                                registry=self.registry)  # fmt: skip
        by_signal = ("family", "camera", "signal")
        self._drift_distance = Gauge("pathcast_drift_distance", "How far a signal was from its reference",
                                     by_signal, registry=self.registry)  # fmt: skip
        self._drift_threshold = Gauge("pathcast_drift_threshold", "The distance from which it alarms", by_signal,
                                      registry=self.registry)  # fmt: skip
        self._drift_alarm = Gauge("pathcast_drift_alarm", "1 where a signal alarmed when last checked", by_signal,
                                  registry=self.registry)  # fmt: skip
        self.registry.register(_Quantiles(self))

    def expect_camera(self, camera_id: str) -> None:
        """Show the camera with 0 frames, so that one which never sends is seen as well."""
        for counter in (self._frames_in, self._frames_out, self._skipped):
            counter.labels(self.service, self._camera(camera_id))

    def expect_dead_letters(self, topic: str) -> None:
        """Show 0 dead letters of the topic; an increase is seen only from a value that was there before."""
        for reason in ("bad", "late"):
            self._dead.labels(self.service, topic, reason)

    def frames_in(self, camera_id: str, count: int = 1) -> None:
        self._frames_in.labels(self.service, self._camera(camera_id)).inc(count)

    def frames_out(self, camera_id: str, count: int = 1) -> None:
        self._frames_out.labels(self.service, self._camera(camera_id)).inc(count)

    def skipped(self, camera_id: str, count: int = 1) -> None:
        self._skipped.labels(self.service, self._camera(camera_id)).inc(count)

    def dead_lettered(self, topic: str, *, late: bool = False) -> None:
        """Count a record that was bad, or one that came `late`, behind a newer one, as when producers take turns."""
        self._dead.labels(self.service, topic, "late" if late else "bad").inc()

    def rebuilt(self, error: BaseException) -> None:
        """Count a rebuild under the client's error behind the platform's own, which tells the servers apart."""
        self._rebuilds.labels(self.service, type(error.__cause__ or error).__name__).inc()

    def lag(self, record_timestamp_ms: int, now_s: float) -> None:
        """Lag by the record's own timestamp; `now_s` is seconds since the Unix epoch.

        A record that the client cannot read has a negative timestamp, which says nothing.
        """
        if record_timestamp_ms >= 0:
            self._behind(max(now_s - record_timestamp_ms / 1_000, 0.0))

    def caught_up(self) -> None:
        """No record waits now."""
        self._behind(0.0)

    def _behind(self, seconds: float) -> None:
        """Behind by `seconds` now, and by more with every second in which nothing else is said: it may be stuck."""
        told_at = self._elapsed()
        self._lag.labels(self.service).set_function(lambda: seconds + self._elapsed() - told_at)

    def drift(self, findings: Iterable[Finding]) -> None:
        """Show these findings, the latest of each family, camera and signal, in place of those before."""
        for gauge in (self._drift_distance, self._drift_threshold, self._drift_alarm):
            gauge.clear()
        for finding in findings:
            labels = (finding.family, self._camera(finding.camera_id), finding.signal)
            if finding.judgement.distance is not None:
                self._drift_distance.labels(*labels).set(finding.judgement.distance)
            self._drift_threshold.labels(*labels).set(finding.judgement.threshold)
            self._drift_alarm.labels(*labels).set(finding.alarm)

    def observe(self, stage: str, seconds: float) -> None:
        """Record that `stage` took `seconds`."""
        self._stage.labels(self.service, stage).observe(seconds)
        with self._lock:
            self._samples.setdefault(stage, deque(maxlen=_KEPT_SAMPLES)).append(seconds)
            self._counts[stage] = self._counts.get(stage, 0) + 1

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block, also one that fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe(name, time.perf_counter() - started)

    def stage_latencies(self) -> dict[str, StageLatency]:
        """p50 and p99 by stage, in the order the stages first ran."""
        with self._lock:
            samples = {stage: np.array(values) for stage, values in self._samples.items()}
            counts = dict(self._counts)
        latencies = {}
        for stage, values in samples.items():
            p50, p99 = np.quantile(values, _QUANTILES) * 1_000
            latencies[stage] = StageLatency(float(p50), float(p99), counts[stage])
        return latencies

    def _camera(self, camera_id: str) -> str:
        with self._lock:
            if camera_id not in self._cameras:
                if len(self._cameras) >= MAX_CAMERA_LABELS:
                    return "other"
                self._cameras.add(camera_id)
        return camera_id


class _Quantiles(Collector):
    """Exact quantiles at scrape time; a histogram's buckets would only bound them."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            _QUANTILE_METRIC, "Quantiles of the time spent in a stage", labels=("service", "stage", "quantile")
        )
        for stage, latency in self._metrics.stage_latencies().items():
            for quantile, milliseconds in zip(_QUANTILES, (latency.p50_ms, latency.p99_ms), strict=True):
                family.add_metric((self._metrics.service, stage, str(quantile)), milliseconds / 1_000)
        yield family


def read_stage_latencies(exposition: str) -> Mapping[str, StageLatency]:
    """`stage_latencies` of a service in another process, from the text of its metrics page."""
    quantiles: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == _QUANTILE_METRIC:
                quantiles.setdefault(sample.labels["stage"], {})[sample.labels["quantile"]] = sample.value * 1_000
            elif sample.name == f"{_COUNT_METRIC}_count":
                counts[sample.labels["stage"]] = int(sample.value)
    return {stage: StageLatency(values["0.5"], values["0.99"], counts[stage]) for stage, values in quantiles.items()}
