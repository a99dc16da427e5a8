"""The databases and the object store that the storage tests talk to, and builders of what they store."""

from __future__ import annotations

import hashlib
import json
import selectors
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from pathcast.core import Detections, Forecast, ForecastScore, FrameTracks, Observation
from pathcast.core.trajectory import step_index
from pathcast.local.platform import Platform
from pathcast.storage.connection import connect
from pathcast.storage.migrate import migrate

TIMESCALE = Path(__file__).parents[1] / "timescale"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
READY_LIMIT_S = 60


@dataclass(frozen=True)
class Database:
    kind: str
    url: SecretStr

    def connect(self) -> psycopg.Connection:
        return connect(self.url, application_name="tests")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The embedded object store and PostgreSQL, nothing else."""
    platform = Platform(tmp_path_factory.mktemp("storage"))
    try:
        platform.start("object_store")
        platform.start("database")
        yield platform
    finally:
        platform.down()


@pytest.fixture(scope="session")
def postgres(servers: Platform) -> Database:
    return Database("postgresql", servers.settings().database_url)


@pytest.fixture
def cluster_database(tmp_path: Path) -> Iterator[str]:
    """The superuser's address of a server of its own that holds nothing yet."""
    platform = Platform(tmp_path)
    try:
        platform.start("database")
        address, _, _ = platform.settings().database_url.get_secret_value().partition("?")
        url = f"{address.rpartition('/')[0]}/postgres"
        with connect(SecretStr(url), application_name="tests") as connection:
            connection.execute("DROP DATABASE pathcast WITH (FORCE)")
        yield url
    finally:
        platform.down()


@pytest.fixture(scope="session")
def timescaledb() -> Iterator[Database]:
    """TimescaleDB as WebAssembly, installed once for each lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        reason = "TimescaleDB is NOT tested: its test server needs node and npm"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    process = subprocess.Popen(
        ["node", "server.mjs"], cwd=_installed(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_LIMIT_S), "the TimescaleDB test server did not start in time"
        port = json.loads(process.stdout.readline())["port"]
        database = Database(
            "timescaledb", SecretStr(f"postgresql://postgres:x@127.0.0.1:{port}/postgres?sslmode=disable")
        )
        with database.connect() as connection:
            migrate(connection)
        yield database
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _installed() -> Path:
    sources = [TIMESCALE / name for name in ("package.json", "package-lock.json", ".npmrc", "server.mjs")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = Path(sys.prefix) / "share" / "pathcast-tests" / f"timescaledb-{digest}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for source in sources:
            shutil.copy(source, partial)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=partial, capture_output=True, text=True, timeout=240, check=False)
        assert result.returncode == 0, f"npm ci failed: {result.stderr}"
        partial.rename(folder)
    return folder


@pytest.fixture(params=["postgresql", "timescaledb"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each test runs on plain PostgreSQL and on TimescaleDB."""
    found: Database = request.getfixturevalue({"postgresql": "postgres", "timescaledb": "timescaledb"}[request.param])
    return found


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect() as connection:
        yield connection


@pytest.fixture
def empty_postgres(postgres: Database) -> Iterator[Database]:
    """A PostgreSQL database of its own, without a schema."""
    name = sql.Identifier("pathcast_empty")
    with postgres.connect() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        address, _, options = postgres.url.get_secret_value().partition("?")
        url = address.rpartition("/")[0] + "/pathcast_empty" + (f"?{options}" if options else "")
        yield Database("postgresql", SecretStr(url))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


_numbers = count()


@pytest.fixture
def camera_id() -> str:
    """Each test has a camera of its own, so tests share a database and see only their rows."""
    return f"camera-{next(_numbers)}"


@pytest.fixture
def observe(camera_id: str) -> Callable[..., Observation]:
    """Builds the observation of frame `sequence`: `objects` walkers, a forecast and a score for each at every third."""

    def build(sequence: int, *, objects: int = 3, start: datetime = START, version: str = "1") -> Observation:
        captured_at = start + timedelta(milliseconds=143 * sequence)
        random = np.random.default_rng(sequence)
        corners = random.uniform(0, 500, (objects, 2))
        boxes = np.hstack([corners, corners + random.uniform(1, 90, (objects, 2))])
        indices = np.arange(objects)
        forecasts, scores = [], []
        for track_id in range(objects) if sequence % 3 == 0 else ():
            step = step_index(captured_at)
            modes = 1 + (sequence + track_id) % 4
            forecasts.append(
                Forecast(
                    camera_id,
                    track_id,
                    track_id % 2,
                    step,
                    random.normal(size=2),
                    [0.3, 0.4],
                    random.normal(size=(modes, 12, 2)),
                    random.normal(size=modes),
                    "m",
                    "forecaster",
                    version,
                )
            )
            ended = track_id == 0
            errors = [None] * 6 if ended else random.uniform(size=6).tolist()
            status = "track_ended" if ended else "scored"
            identity = (camera_id, track_id, track_id % 2, step - 12, "forecaster", version, "m")
            scores.append(ForecastScore(*identity, status, 0 if ended else 12, *errors))
        return Observation(
            camera_id=camera_id,
            sequence=sequence,
            captured_at=captured_at,
            width=768,
            height=576,
            detector="detector",
            detector_version="7",
            detections=Detections(boxes, random.uniform(size=objects), indices % 2),
            tracks=FrameTracks(
                indices, boxes + 0.25, random.uniform(size=objects), indices % 2, np.where(indices == 2, -1, indices)
            ),
            positions=np.column_stack([indices + 0.1 * sequence, indices - 0.2 * sequence]),
            units="m",
            forecasts=tuple(forecasts),
            scores=tuple(scores),
        )

    return build
