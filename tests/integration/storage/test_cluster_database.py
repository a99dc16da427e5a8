"""What a cluster's database gets from the manifests: logins and rights, and the queries of the dashboards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from pathcast.core.errors import ServiceUnavailableError
from pathcast.messaging.resume import resume_at_stored_offsets
from pathcast.monitoring.outbox import Message, delivered, owe, owed
from pathcast.storage import positions
from pathcast.storage.connection import connect
from pathcast.storage.migrate import migrate
from pathcast.storage.model_lock import model_lock
from pathcast.storage.positions import Checkpoint
from tests.integration.storage.cluster_logins import as_user, make_roles

PROJECT = Path(__file__).parents[3]


def test_logins_may_do_their_work_and_no_more(cluster_database: str) -> None:
    make_roles(cluster_database, "1")
    make_roles(cluster_database, "2")

    def address(name: str, database: str = "pathcast", suffix: str = "2") -> SecretStr:
        role = name if name == "mlflow" else f"pathcast_{name}"
        return as_user(cluster_database, role, f"{name}%27s%20%25word%20{suffix}", database)

    def login(name: str, database: str = "pathcast", suffix: str = "2") -> psycopg.Connection:
        return connect(address(name, database, suffix), application_name="tests")

    owner = as_user(cluster_database, "pathcast_owner", "owner%27s%20%25word%202", "pathcast").get_secret_value()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "pathcast.storage"],
            env={**os.environ, "PATHCAST_DATABASE_URL": owner},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "nothing new" in done.stderr
    insert = "INSERT INTO cameras (camera_id) VALUES ('gate') ON CONFLICT DO NOTHING"
    for name in ("archiver", "analyzer", "recorder", "lifecycle"):
        with login(name) as connection:
            connection.execute(insert)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE own ()")
    for name in ("monitor", "dashboards"):
        with login(name) as connection:
            assert connection.execute("SELECT count(*) FROM cameras").fetchone() == (1,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(insert)
    for name in ("lifecycle", "monitor"):
        with login(name) as connection:
            owe(connection, name, Message("title", "text", {}))
            (number,) = owed(connection, name)
            delivered(connection, number)
            assert owed(connection, name) == {}
    with (
        model_lock(address("lifecycle"), "detector", "promote version 4"),
        pytest.raises(ServiceUnavailableError, match=r"by promote version 4, process \d+ at "),
        model_lock(address("monitor"), "detector", "compare", wait_s=0.1),
    ):
        pass
    for name in ("archiver", "analyzer", "recorder"):
        with login(name) as connection:
            start = positions.StreamPosition(name, "frames", 0, 0, UUID(int=2))
            assert restarted_on_a_topic_made_anew(connection, name) == (start, Checkpoint(start, b"state"))
    with login("mlflow", "mlflow") as connection:
        connection.execute("CREATE TABLE runs ()")
    for wrong in (("mlflow", "pathcast"), ("recorder", "mlflow"), ("recorder", "pathcast", "1")):
        with pytest.raises(Exception, match=r"denied|failed"):
            login(*wrong)


def restarted_on_a_topic_made_anew(
    connection: psycopg.Connection, service: str
) -> tuple[positions.StreamPosition | None, Checkpoint | None]:
    """Where the service goes on after that, and with what."""
    position = positions.StreamPosition(service, "frames", 0, 500, UUID(int=1))
    positions.write_offset(connection, position)
    positions.write_checkpoint(connection, position, b"state")
    consumer = Mock(topic="frames", partitions=(0,), topic_id=UUID(int=2))
    consumer.seek.return_value = {0: 0}
    consumer.stream_position.side_effect = lambda *of: positions.StreamPosition(of[0], "frames", *of[1:], UUID(int=2))
    resume_at_stored_offsets(consumer, connection, service)
    where = (connection, service, "frames", 0)
    return positions.read_position(*where), positions.read_checkpoint(*where)


def test_the_migration_says_what_is_wrong() -> None:
    for address in ("", "postgresql://pathcast_owner:secretword@127.0.0.1:1/pathcast"):
        environment = {name: value for name, value in os.environ.items() if name != "PATHCAST_DATABASE_URL"}
        if address:
            environment["PATHCAST_DATABASE_URL"] = address
        done = subprocess.run(
            [sys.executable, "-m", "pathcast.storage"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 1
        assert done.stderr
        assert "secretword" not in done.stderr
        assert "Traceback" not in done.stderr


def dashboard_queries() -> list[tuple[str, str]]:
    found = []
    for path in sorted((PROJECT / "helm" / "pathcast" / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            found += [(panel["title"], target["rawSql"]) for target in panel["targets"] if "rawSql" in target]
        found += [
            (variable["name"], variable["query"])
            for variable in board["templating"]["list"]
            if variable["type"] == "query" and variable["query"].startswith("SELECT")
        ]
    return found


def test_the_dashboards_queries_run(empty_postgres: Any) -> None:
    queries = dashboard_queries()
    assert len(queries) >= 8
    with empty_postgres.connect() as connection:
        migrate(connection)
        for title, query in queries:
            text = re.sub(r"\$__timeGroupAlias\((\w+), \$__interval\)", r"date_trunc('minute', \1) AS time", query)
            text = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 > now() - INTERVAL '1 hour'", text).replace(
                "$camera", "'gate'"
            )
            assert "$" not in text, title
            connection.execute(text)
