from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import psycopg
import pytest

from pathcast.core.errors import PathcastError
from pathcast.storage.migrate import migrate, migration_steps, read_flavour
from pathcast.storage.positions import StreamPosition, write_checkpoint, write_offset
from pathcast.storage.reads import TIME_SERIES

pytestmark = pytest.mark.integration

MINUTES = [
    "detection_counts_minute", "forecast_errors_minute", "frame_looks_minute", "object_counts_minute",
    "object_speeds_minute",
]  # fmt: skip
HOURS = ["forecast_errors_hour", "forecasts_made_hour"]
AGGREGATES = sorted(MINUTES + HOURS)


def test_migrated_database_is_left_alone(database: Any, connection: psycopg.Connection) -> None:
    assert migrate(connection) == []
    assert read_flavour(connection) == database.kind


def test_many_services_migrate_at_once(empty_postgres: Any) -> None:
    def run(_: int) -> list[str]:
        with empty_postgres.connect() as connection:
            return migrate(connection)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert sorted(results) == [[], [], [], list(migration_steps())]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE schema_migrations SET checksum = 'other' WHERE name = '0001_tables.sql'",
            "0001_tables.sql was applied",
        ),
        ("INSERT INTO schema_migrations VALUES ('9999_later.sql', 'x', 'postgresql')", "9999_later.sql"),
    ],
)
def test_foreign_history_is_refused(empty_postgres: Any, change: str, message: str) -> None:
    with empty_postgres.connect() as connection:
        migrate(connection)
        connection.execute(change)
        with pytest.raises(PathcastError, match=message):
            migrate(connection)


def test_failed_migration_leaves_nothing(empty_postgres: Any) -> None:
    with empty_postgres.connect() as connection:
        connection.execute("CREATE VIEW forecast_lineage AS SELECT 1 AS one")
        with pytest.raises(PathcastError, match="forecast_lineage"):
            migrate(connection)
        (tables,) = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == 0


def test_missing_schema_says_what_to_run(empty_postgres: Any) -> None:
    with empty_postgres.connect() as connection, pytest.raises(PathcastError, match="migrate"):
        read_flavour(connection)


def test_default_rows_move_to_their_day(empty_postgres: Any) -> None:
    day = datetime(2020, 5, 5, tzinfo=UTC)
    moments = [day, day + timedelta(hours=23, minutes=59, seconds=59.999999), day + timedelta(days=1)]
    with empty_postgres.connect() as connection:
        migrate(connection)
        for moment in moments:
            connection.execute(
                "INSERT INTO observations VALUES ('gate-1', %s, 0, 1, 1, 'd', '1', 0, 0, 0, 0)", (moment,)
            )
        made = [connection.execute("SELECT ensure_partitions(%s)", ([moments[1]],)).fetchone()[0] for _ in range(2)]
        assert made == [len(TIME_SERIES), 0]
        places = connection.execute("SELECT captured_at, tableoid::regclass::text FROM observations ORDER BY 1")
        assert places.fetchall() == list(
            zip(moments, ["observations_20200505", "observations_20200505", "observations_default"], strict=True)
        )


def test_partitions_made_by_many_at_once(empty_postgres: Any) -> None:
    days = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(5)]

    def run(_: int) -> int:
        with empty_postgres.connect() as connection:
            return connection.execute("SELECT ensure_partitions(%s)", (days,)).fetchone()[0]

    with empty_postgres.connect() as connection:
        migrate(connection)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(run, range(4))) == 5 * len(TIME_SERIES)


def test_old_days_are_dropped(connection: psycopg.Connection) -> None:
    old = datetime(2001, 1, 1, 5, tzinfo=UTC)
    insert = "INSERT INTO observations VALUES ('old-days', %s, 0, 1, 1, 'd', '1', 0, 0, 0, 0)"
    for moment in (old, old + timedelta(days=1)):
        connection.execute("SELECT ensure_partitions(%s)", ([moment],))
        connection.execute(insert, (moment,))
    connection.execute("SELECT drop_raw_before(%s)", (old + timedelta(days=1),))
    kept = connection.execute("SELECT captured_at FROM observations WHERE camera_id = 'old-days'").fetchall()
    assert kept == [(old + timedelta(days=1),)]


def test_hypertables_have_their_policies(timescaledb: Any) -> None:
    with timescaledb.connect() as connection:
        hypertables = connection.execute(
            "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public'"
        )
        assert {name for (name,) in hypertables} == set(TIME_SERIES)
        segments = connection.execute(
            "SELECT hypertable::text, segmentby FROM timescaledb_information.hypertable_columnstore_settings "
            "WHERE segmentby IS NOT NULL"
        ).fetchall()
        assert {name.rpartition(".")[2]: by for name, by in segments} == dict.fromkeys(TIME_SERIES, "camera_id")
        views = connection.execute(
            "SELECT view_name, materialized_only FROM timescaledb_information.continuous_aggregates ORDER BY 1"
        )
        assert views.fetchall() == [(name, False) for name in AGGREGATES]
        jobs = connection.execute(
            "SELECT proc_name, (config->>'drop_after')::interval FROM timescaledb_information.jobs WHERE job_id >= 1000"
        ).fetchall()
        kept = [after for name, after in jobs if name == "policy_retention"]
        assert sorted(kept) == [timedelta(days=30)] * len(TIME_SERIES) + [timedelta(days=400)] * len(MINUTES)
        assert sum(name == "policy_compression" for name, _ in jobs) == len(TIME_SERIES)
        assert sum(name == "policy_refresh_continuous_aggregate" for name, _ in jobs) == len(AGGREGATES)


def test_columnstore_policies_run_and_take_late_rows(timescaledb: Any) -> None:
    """A day in the columnstore still takes new rows once, and a known row not at all."""
    day = datetime(2010, 1, 1, tzinfo=UTC)
    insert = (
        "INSERT INTO observations SELECT 'columnar', %s::timestamptz + i * INTERVAL '1 s', i, 1, 1, 'd', '1', 0, 0, 0, "
        "0 FROM generate_series(%s::integer, %s) AS i ON CONFLICT DO NOTHING"
    )
    with timescaledb.connect() as connection:
        connection.execute(insert, (day, 1, 100))
        connection.execute(
            "SELECT compress_chunk(chunk) FROM show_chunks('observations', older_than => %s::timestamptz) AS chunk",
            (day + timedelta(days=1),),
        )
        (columnar,) = connection.execute(
            "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks "
            "WHERE hypertable_name = 'observations' AND range_end <= %s",
            (day + timedelta(days=1),),
        ).fetchone()
        assert columnar
        assert connection.execute(insert, (day, 51, 150)).rowcount == 50
        rows = connection.execute("SELECT count(*), sum(sequence) FROM observations WHERE camera_id = 'columnar'")
        assert rows.fetchone() == (150, sum(range(151)))


def test_roles_have_the_least_rights(empty_postgres: Any) -> None:
    script = (resources.files("pathcast.storage") / "sql" / "roles.sql").read_text(encoding="utf-8")
    writes = "INSERT INTO observations VALUES ('gate-1', '2020-05-05 12:00Z', 0, 1, 1, 'd', '1', 0, 0, 0, 0)"
    position = StreamPosition("recorder", "observations", 0, 1)
    with empty_postgres.connect() as connection:
        migrate(connection)
        for _ in range(2):
            connection.execute(script)
        connection.execute("SET ROLE pathcast_writer")
        connection.execute("SELECT ensure_partitions(ARRAY[timestamptz '2020-05-05 12:00Z'])")
        connection.execute(writes)
        write_offset(connection, position)
        assert write_checkpoint(connection, position, b"state")
        # The row is of 2020, and past its retention.
        assert connection.execute("SELECT drop_expired_raw(now())").fetchone() == ("detections_20200505",)
        refused = (
            "DELETE FROM observations",
            "DROP TABLE tracks",
            "SELECT drop_raw_before(now())",
            "UPDATE retention SET raw_days = 8",
        )
        for denied in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(denied)
        accepting = "UPDATE drift_findings SET accepted = true"
        connection.execute(accepting)
        connection.execute("SET ROLE pathcast_watcher")
        connection.execute(accepting)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(writes)
        connection.execute("SET ROLE pathcast_reader")
        assert connection.execute("SELECT count(*) FROM observations").fetchone() == (1,)
        connection.execute("SELECT * FROM forecast_lineage, forecast_errors_hour, forecasts_made_hour, retention")
        for denied in (
            writes,
            accepting,
            "SELECT drop_expired_raw(now())",
            "SELECT * FROM checkpoints",
            "UPDATE stream_offsets SET next_offset = 0",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(denied)
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY pathcast_writer, pathcast_reader, pathcast_watcher")
        connection.execute("DROP ROLE pathcast_writer, pathcast_reader, pathcast_watcher")


def test_a_database_with_roles_gets_the_hours_and_their_rights(
    empty_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = migration_steps()
    before = dict(list(steps.items())[:4])
    with empty_postgres.connect() as connection:
        monkeypatch.setattr("pathcast.storage.migrate.migration_steps", lambda: before)
        assert migrate(connection) == list(before)
        connection.execute("CREATE ROLE pathcast_reader NOLOGIN; CREATE ROLE pathcast_writer NOLOGIN")
        connection.execute(
            "INSERT INTO forecast_scores SELECT 'gate-1', '2020-05-05 12:00Z'::timestamptz + i * INTERVAL '1 min', 1, "
            "0, 'forecaster', '1', i, 'scored', 12, 1, 2, 0.5, 0.7, 3, 4, 'm' FROM generate_series(0, 89) AS i"
        )
        monkeypatch.setattr("pathcast.storage.migrate.migration_steps", lambda: steps)
        assert migrate(connection) == list(steps)[4:]
        connection.execute("SET ROLE pathcast_reader")
        hours = connection.execute("SELECT hour, scored, ade, fde FROM forecast_errors_hour ORDER BY 1").fetchall()
        noon = datetime(2020, 5, 5, 12, tzinfo=UTC)
        assert hours == [(noon, 60, 60, 120), (noon + timedelta(hours=1), 30, 30, 60)]
        connection.execute("SET ROLE pathcast_writer")
        connection.execute("SELECT drop_expired_raw(now())")
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY pathcast_writer, pathcast_reader")
        connection.execute("DROP ROLE pathcast_writer, pathcast_reader")
