"""The hourly aggregates of forecast scores, on both databases."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import Forecast, ForecastScore, InvalidInputError, Observation
from pathcast.core.trajectory import step_index
from pathcast.storage.housekeeping import drop_expired
from pathcast.storage.migrate import migrate
from pathcast.storage.scores import ScoreSummary, read_score_summaries
from pathcast.storage.writers import write_observations

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
# After every hour that another test materialises.
AHEAD = datetime(2040, 3, 1, 12, tzinfo=UTC)
Observe = Callable[..., Observation]
Write = Callable[..., list[ForecastScore]]


@pytest.fixture
def write(camera_id: str, observe: Observe) -> Write:
    """Stores a forecast of each of `tracks` (id → class, steps that came, None: still open) made at `moment`.

    Each call with a frame of its own.
    """
    frames = itertools.count()

    def run(
        connection: psycopg.Connection,
        moment: datetime,
        tracks: dict[int, tuple[int, int | None]],
        version: str = "1",
        seed: int = 0,
    ) -> list[ForecastScore]:
        random = np.random.default_rng(seed)
        step = step_index(moment)
        forecasts, scores = [], []
        for track_id, (class_id, steps) in tracks.items():
            identity = (camera_id, track_id, class_id, step)
            paths = np.zeros((1, 12, 2))
            forecasts.append(Forecast(*identity, [0, 0], [0, 0], paths, [0.0], "m", "forecaster", version))
            if steps is not None:
                errors = random.uniform(0, 2, 6).tolist() if steps else [None] * 6
                status = "scored" if steps == 12 else "track_ended"
                scores.append(ForecastScore(*identity, "forecaster", version, "m", status, steps, *errors))
        at = moment + timedelta(milliseconds=next(frames))
        given = replace(observe(0, objects=0), captured_at=at, forecasts=tuple(forecasts), scores=tuple(scores))
        write_observations(connection, [given])
        return scores

    return run


def refresh(connection: psycopg.Connection, kind: str) -> None:
    if kind == "timescaledb":
        for name in ("forecast_errors_hour", "forecasts_made_hour"):
            connection.execute(f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)")


def expected(scores: list[ForecastScore]) -> dict[str, Any]:
    """The figures of a summary, computed from the scores one by one."""
    scored = [score for score in scores if score.status == "scored"]
    ended = [score for score in scores if score.status == "track_ended"]
    names = ("ade", "fde", "best_ade", "best_fde", "constant_velocity_ade", "constant_velocity_fde")
    figures: dict[str, Any] = {
        name: np.mean([getattr(score, name) for score in scored]) if scored else None for name in names
    }
    steps = sum(score.steps for score in ended)
    figures["ended_steps"] = steps / len(ended) if ended else None
    for name, of in (("ended_error", "ade"), ("ended_constant_velocity_error", "constant_velocity_ade")):
        figures[name] = sum((getattr(each, of) or 0) * each.steps for each in ended) / steps if steps else None
    return {"scored": len(scored), "track_ended": len(ended), **figures}


def figures_of(summary: ScoreSummary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in expected([])}


def test_summaries_are_the_means_of_the_scores(
    database: Any, connection: psycopg.Connection, camera_id: str, write: Write
) -> None:
    hours = [AHEAD, AHEAD + timedelta(minutes=59), AHEAD + timedelta(hours=1), AHEAD + timedelta(hours=5)]
    tracks: dict[int, tuple[int, int | None]] = {1: (0, 12), 2: (0, 5), 3: (2, 12), 4: (2, 0), 5: (2, None), 6: (0, 12)}
    stored = [(hour, write(connection, hour, tracks, seed=index)) for index, hour in enumerate(hours)]
    newer = write(connection, AHEAD, {1: (0, 12), 2: (0, 3)}, version="2", seed=9)
    scores = [score for hour, found in stored for score in found if hour < AHEAD + timedelta(hours=2)]
    span = (AHEAD + timedelta(minutes=30), AHEAD + timedelta(hours=2))

    def check() -> None:
        by_class = read_score_summaries(connection, *span, camera_id=camera_id)
        assert [(each.model_version, each.camera_id, each.class_id, each.hour) for each in by_class] == [
            ("1", camera_id, 0, None),
            ("1", camera_id, 2, None),
            ("2", camera_id, 0, None),
        ]
        for summary in by_class:
            of = newer if summary.model_version == "2" else scores
            wanted = expected([score for score in of if score.class_id == summary.class_id])
            assert figures_of(summary) == pytest.approx(wanted)
        assert [(each.made, each.open) for each in by_class] == [(9, 0), (9, 3), (2, 0)]
        assert [each.ended_share for each in by_class] == pytest.approx([1 / 3, 1 / 2, 1 / 2])
        (whole,) = read_score_summaries(connection, *span, by=(), camera_id=camera_id, model_version="1")
        assert (whole.camera_id, whole.class_id, whole.made) == (None, None, 18)
        assert figures_of(whole) == pytest.approx(expected(scores))
        hourly = read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id, model="forecaster")
        assert [(each.model_version, each.hour, each.made) for each in hourly] == [
            ("1", AHEAD, 12),
            ("1", AHEAD + timedelta(hours=1), 6),
            ("2", AHEAD, 2),
        ]

    check()
    refresh(connection, database.kind)
    check()


def test_late_scores_are_added(database: Any, connection: psycopg.Connection, camera_id: str, write: Write) -> None:
    """Also where the hour was materialised before they came; a replay adds nothing."""
    span = (START, START + timedelta(hours=1))
    write(connection, START, {1: (0, None), 2: (0, 4)})
    refresh(connection, database.kind)
    for _ in range(2):
        write(connection, START, {1: (0, 12), 2: (0, 4)})
        refresh(connection, database.kind)
        (summary,) = read_score_summaries(connection, *span, camera_id=camera_id)
        assert (summary.made, summary.scored, summary.track_ended, summary.open) == (2, 1, 1, 0)


def test_nothing_and_unknown_dimensions(connection: psycopg.Connection, camera_id: str) -> None:
    assert read_score_summaries(connection, START, START + timedelta(days=1), camera_id=camera_id) == []
    with pytest.raises(InvalidInputError, match="expected to group by camera_id, class_id, hour, got .'colour'"):
        read_score_summaries(connection, START, START, by=("colour",))  # type: ignore[arg-type]


def test_hours_outlive_the_raw_rows(postgres: Any, camera_id: str, write: Write) -> None:
    """On TimescaleDB continuous aggregates do, and a policy drops the raw rows."""
    old = datetime(2003, 3, 1, 23, 59, 59, tzinfo=UTC)
    moments = [old, old + timedelta(seconds=2)]
    with postgres.connect() as connection:
        stored = [
            write(connection, moment, {1: (0, 12), 2: (0, 5), 3: (0, None)}, seed=index)
            for index, moment in enumerate(moments)
        ]
        span = (old - timedelta(hours=1), old + timedelta(hours=2))
        before = read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id)
        # At that moment the first day has been over for 30 days, the second has not.
        dropped, postponed = drop_expired(connection, datetime(2003, 4, 1, 12, tzinfo=UTC))
        assert not postponed
        assert {name for name in dropped if name.startswith("forecast")} >= {
            "forecast_scores_20030301",
            "forecasts_20030301",
        }
        assert not [name for name in dropped if name.endswith("20030302")]
        raw = connection.execute("SELECT made_at FROM forecast_scores WHERE camera_id = %s", (camera_id,)).fetchall()
        assert {moment.day for (moment,) in raw} == {2}
        after = read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id)
        assert after == before
        # A score that comes late to a day that was dropped adds to it, also after that day was dropped again.
        late = write(connection, old, {9: (0, 12)}, seed=7)
        for _ in range(2):
            (first, _) = read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id)
            assert figures_of(first) == pytest.approx(expected(stored[0] + late))
            drop_expired(connection, datetime(2003, 4, 1, 12, tzinfo=UTC))
        assert drop_expired(connection, datetime(2003, 4, 1, 12, tzinfo=UTC)) == ([], False)
        # Dropped by hand, the other day's hours stay as well.
        both = read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id)
        connection.execute("SELECT drop_raw_before(%s)", (old + timedelta(days=2),))
        assert not connection.execute("SELECT 1 FROM forecasts WHERE camera_id = %s", (camera_id,)).fetchall()
        assert read_score_summaries(connection, *span, by=("hour",), camera_id=camera_id) == both


def test_nothing_goes_before_its_time(empty_postgres: Any) -> None:
    """Whatever moment the caller gives: an hour from now is now."""
    today = datetime.now(tz=UTC)
    with empty_postgres.connect() as connection:
        migrate(connection)
        connection.execute("SELECT ensure_partitions(%s)", ([today - timedelta(days=day) for day in (29, 32)],))
        dropped, _ = drop_expired(connection, today + timedelta(days=3650))
        assert {name[-8:] for name in dropped} == {f"{today - timedelta(days=32):%Y%m%d}"}
        connection.execute("UPDATE retention SET raw_days = 10")
        dropped, _ = drop_expired(connection, today)
        assert {name[-8:] for name in dropped} == {f"{today - timedelta(days=29):%Y%m%d}"}
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("UPDATE retention SET raw_days = 0")


def test_a_table_in_use_is_left_for_the_next_time(empty_postgres: Any) -> None:
    with empty_postgres.connect() as connection, empty_postgres.connect() as other:
        migrate(connection)
        connection.execute("SELECT ensure_partitions(ARRAY[timestamptz '2001-01-01 00:00Z'])")
        connection.execute("ALTER FUNCTION drop_expired_raw(timestamptz) SET lock_timeout = '100ms'")
        with other.transaction():
            other.execute("SELECT count(*) FROM tracks")
            dropped, postponed = drop_expired(connection, datetime.now(tz=UTC))
        assert postponed
        assert "detections_20010101" in dropped
        assert "tracks_20010101" not in dropped
        assert drop_expired(connection, datetime.now(tz=UTC)) == (["tracks_20010101"], False)


def test_every_aggregate_has_a_refresh_policy_that_runs(timescaledb: Any) -> None:
    with timescaledb.connect() as connection:
        aggregates = connection.execute(
            "SELECT view_name FROM timescaledb_information.continuous_aggregates"
        ).fetchall()
        jobs = connection.execute(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
        ).fetchall()
        assert aggregates
        assert len(jobs) == len(aggregates)
        for (job,) in jobs:
            connection.execute("CALL run_job(%s)", (job,))
        assert connection.execute("SELECT drop_expired_raw(now())").fetchone() == (None,)


def test_the_command_shows_what_is_stored(
    database: Any, camera_id: str, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with database.connect() as connection:
        stored = write(connection, START, {1: (0, 12), 2: (0, 3), 3: (0, None), 4: (1, 12)})
        refresh(connection, database.kind)
    monkeypatch.setenv("PATHCAST_DATABASE_URL", database.url.get_secret_value())
    for name in (
        "KAFKA_BOOTSTRAP",
        "S3_ENDPOINT",
        "S3_ACCESS_KEY",
        "S3_SECRET_KEY",
        "TRITON_GRPC",
        "MLFLOW_TRACKING_URI",
    ):
        monkeypatch.setenv(f"PATHCAST_{name}", "not-used")
    file = tmp_path / "scores.json"
    span = ["--until", (START + timedelta(minutes=5)).isoformat(), "--hours", "1"]
    result = CliRunner().invoke(app, ["scores", *span, "--camera", camera_id, "--json", str(file)])
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    persons, bicycles = report["rows"]
    assert (report["forecasts"], persons["class_id"], bicycles["class_id"]) == (4, 0, 1)
    counts = [persons[name] for name in ("made", "scored", "track_ended", "open", "track_ended_share")]
    assert counts == [3, 1, 1, 1, 0.5]
    assert persons["ade_m"] == pytest.approx(stored[0].ade)
    assert persons["ended_error_m"] == pytest.approx(stored[1].ade)
    assert (persons["hour"], persons["ended_steps"]) == (None, 3.0)
    for shown in ("forecaster 1", camera_id, "bicycle", f"{stored[0].ade:.3f} / {stored[0].fde:.3f} m", "1 (50%)"):
        assert shown in result.output
    for arguments in (["--until", "noon"], ["--until", "2026-03-01T12:00"], ["--by", "colour"], ["--hours", "0"]):
        assert CliRunner().invoke(app, ["scores", *arguments]).exit_code == 2
    nothing = CliRunner().invoke(app, ["scores", *span, "--camera", "nowhere"])
    assert (nothing.exit_code, "No forecasts from 2026-03-01 11:05" in nothing.output) == (0, True)
