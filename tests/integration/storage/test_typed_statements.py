"""The statements and the backup of docs/operations.md, on real databases."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from pathcast.storage.connection import connect
from tests.integration.storage.cluster_logins import PROGRAMS, as_user, make_roles
from tests.integration.storage.conftest import Database
from tests.unit.release.shell_pages import Call, blocks, section, typed

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
_STATEMENT = re.compile(r"`((?:SELECT|ALTER|DELETE|UPDATE|TRUNCATE)\b[^`]+)`")


def calls(text: str, folder: Path) -> list[Call]:
    found = [
        call
        for block in blocks(text)
        if re.search("psql|pg_dump", block)
        for call in typed(block, folder, Path("kubectl"))
    ]
    return [call for call in found if call.inner]


def given(call: Call) -> list[str]:
    """What `psql` is told to run."""
    return [text for option, text in zip(call.inner, call.inner[1:], strict=False) if option == "-c"]


def test_every_statement_is_one_that_the_database_understands(timescaledb: Database, tmp_path: Path) -> None:
    blocks_ = [statement for call in calls(PAGE, tmp_path) if call.inner[0] == "psql" for statement in given(call)]
    prose = [" ".join(found.split()) for found in _STATEMENT.findall(PAGE)]
    # Databases are dropped and made in the test below; the extension is there.
    statements = [text for text in [*blocks_, *prose] if not re.search(r"\b(DATABASE|EXTENSION)\b", text)]
    assert len(statements) >= 10
    for statement in statements:
        with timescaledb.connect() as connection:
            connection.execute(statement)
            connection.rollback()


def test_a_backup_comes_back_with_its_rows_and_rights(cluster_database: str, tmp_path: Path) -> None:
    """On plain PostgreSQL: the two calls of TimescaleDB, and its extension, are left out."""
    make_roles(cluster_database, "1")
    owner = as_user(cluster_database, "pathcast_owner", "owner%27s%20%25word%201", "pathcast")
    migration = [sys.executable, "-m", "pathcast.storage"]
    environment = {**os.environ, "PATHCAST_DATABASE_URL": owner.get_secret_value()}
    subprocess.run(migration, env=environment, check=True)
    with connect(owner, application_name="tests") as connection:
        connection.execute("INSERT INTO cameras (camera_id) VALUES ('gate'), ('hall')")
        connection.commit()
    parts = urlsplit(cluster_database)
    # There a login and its database have one name, postgres.
    reached = {"PGHOST": parts.hostname, "PGPORT": str(parts.port), "PGPASSWORD": parts.password}
    reached |= {"PGDATABASE": "postgres"}
    played = []
    for call in calls(section(PAGE, "Backup and restore"), tmp_path):
        program, *arguments = call.inner
        if "timescaledb" in " ".join(arguments):
            continue
        arguments[arguments.index("-U") + 1] = str(parts.username)
        database = arguments[-1] if program == "pg_dump" else "pathcast"
        dump = (tmp_path / f"{database}.dump").open("wb" if program == "pg_dump" else "rb")
        streams = {"stdout": dump} if program == "pg_dump" else {"stdin": dump}
        with dump:
            done = subprocess.run(
                [PROGRAMS / program, *arguments], env={**os.environ, **reached}, stderr=subprocess.PIPE, **streams
            )
        assert done.returncode == 0, done.stderr
        played.append(program)
    assert played == ["pg_dump", "pg_dump", "psql", "pg_restore"]
    make_roles(cluster_database, "1")
    done = subprocess.run(migration, env=environment, capture_output=True, text=True, check=True)
    assert "nothing new" in done.stderr
    for name in ("recorder", "dashboards"):
        word = f"{name}%27s%20%25word%201"
        login = as_user(cluster_database, f"pathcast_{name}", word, "pathcast")
        with connect(SecretStr(login.get_secret_value()), application_name="tests") as connection:
            assert connection.execute("SELECT count(*) FROM cameras").fetchone() == (2,)
