from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import generate_latest

from pathcast.monitoring.check import Finding
from pathcast.monitoring.metrics import MAX_CAMERA_LABELS, ServiceMetrics, StageLatency, read_stage_latencies
from pathcast.monitoring.verdict import Judgement, Span, Verdict


def sample(metrics: ServiceMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"service": "test", **labels})


def test_counts_by_camera() -> None:
    metrics = ServiceMetrics("test")
    metrics.frames_in("a")
    metrics.frames_in("a", 2)
    metrics.frames_out("b")
    metrics.skipped("a")
    metrics.dead_lettered("frames")
    assert sample(metrics, "pathcast_frames_in_total", camera="a") == 3
    assert sample(metrics, "pathcast_frames_out_total", camera="b") == 1
    assert sample(metrics, "pathcast_frames_skipped_total", camera="a") == 1
    assert sample(metrics, "pathcast_dead_letters_total", topic="frames", reason="bad") == 1


def test_counters_that_alerts_watch_begin_at_zero() -> None:
    metrics = ServiceMetrics("test")
    metrics.expect_camera("a")
    metrics.expect_dead_letters("frames")
    for name in ("in", "out", "skipped"):
        assert sample(metrics, f"pathcast_frames_{name}_total", camera="a") == 0
    for reason in ("bad", "late"):
        assert sample(metrics, "pathcast_dead_letters_total", topic="frames", reason=reason) == 0
    metrics.dead_lettered("frames", late=True)
    assert sample(metrics, "pathcast_dead_letters_total", topic="frames", reason="late") == 1


def test_the_latest_drift_findings_replace_those_before() -> None:
    window = Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))

    def finding(signal: str, verdict: Verdict, distance: float | None) -> Finding:
        judged = Judgement(verdict, "", 1.0, 2.0, distance, 0.5, 100, 6)
        return Finding("detector", "gate", signal, window, "7", judged)

    def shown(what: str, signal: str) -> float | None:
        labels = {"family": "detector", "camera": "gate", "signal": signal}
        return metrics.registry.get_sample_value(f"pathcast_drift_{what}", labels)

    metrics = ServiceMetrics("test")
    metrics.drift([finding("score", "alarm", 0.9), finding("objects", "unknown", None)])
    assert [shown(what, "score") for what in ("distance", "threshold", "alarm")] == [0.9, 0.5, 1]
    assert [shown(what, "objects") for what in ("distance", "threshold", "alarm")] == [None, 0.5, 0]
    metrics.drift([finding("score", "normal", 0.1)])
    assert [shown("alarm", signal) for signal in ("score", "objects")] == [0, None]


def test_a_flood_of_cameras_shares_a_label() -> None:
    metrics = ServiceMetrics("test")
    for number in range(MAX_CAMERA_LABELS + 50):
        metrics.frames_in(f"camera-{number}")
    metrics.frames_in("camera-0")
    assert sample(metrics, "pathcast_frames_in_total", camera="other") == 50
    assert sample(metrics, "pathcast_frames_in_total", camera="camera-0") == 2


@pytest.mark.parametrize(("produced_ms", "now_s", "lag_s"), [(1_000, 3.5, 2.5), (5_000, 3.5, 0.0)])
def test_lag_is_by_the_records_own_time(produced_ms: int, now_s: float, lag_s: float) -> None:
    metrics = ServiceMetrics("test", elapsed=lambda: 0.0)
    metrics.lag(produced_ms, now_s)
    assert sample(metrics, "pathcast_lag_seconds") == lag_s


def test_a_record_without_a_time_says_nothing_of_the_lag() -> None:
    metrics = ServiceMetrics("test", elapsed=lambda: 0.0)
    metrics.lag(1_000, 3.0)
    metrics.lag(-1, 1_800_000_000.0)
    assert sample(metrics, "pathcast_lag_seconds") == 2


def test_lag_grows_while_nothing_is_processed_and_ends_where_nothing_waits() -> None:
    elapsed_s = 0.0
    metrics = ServiceMetrics("test", elapsed=lambda: elapsed_s)
    metrics.lag(1_000, 3.0)
    elapsed_s = 60.0
    assert sample(metrics, "pathcast_lag_seconds") == 62
    metrics.caught_up()
    assert sample(metrics, "pathcast_lag_seconds") == 0
    elapsed_s = 65.0
    assert sample(metrics, "pathcast_lag_seconds") == 5


def test_quantiles_are_exact_and_read_back_from_the_page() -> None:
    metrics = ServiceMetrics("test")
    for milliseconds in range(101):
        metrics.observe("detect", milliseconds / 1_000)
    metrics.observe("track", 0.002)
    latencies = metrics.stage_latencies()
    assert list(latencies) == ["detect", "track"]
    assert (latencies["detect"].p50_ms, latencies["detect"].p99_ms) == pytest.approx((50, 99))
    assert latencies["detect"].count == 101
    read = read_stage_latencies(generate_latest(metrics.registry).decode())
    assert read == {
        stage: StageLatency(pytest.approx(each.p50_ms), pytest.approx(each.p99_ms), each.count)
        for stage, each in latencies.items()
    }


def test_a_stage_that_fails_is_timed_too() -> None:
    metrics = ServiceMetrics("test")
    with pytest.raises(KeyError), metrics.stage("decode"):
        raise KeyError
    assert metrics.stage_latencies()["decode"].count == 1


def test_no_stages_no_latencies() -> None:
    metrics = ServiceMetrics("test")
    assert metrics.stage_latencies() == {}
    assert read_stage_latencies(generate_latest(metrics.registry).decode()) == {}
