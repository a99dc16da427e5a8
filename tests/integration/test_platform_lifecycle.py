"""Up and down: interrupted, killed, twice at once, with ports taken and parts that cannot start."""

import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from support.platform import (
    SERVERS,
    instance,
    processes_of,
)
from support.waiting import LIMIT_S, wait_for

from pathcast.core.errors import ServiceUnavailableError
from pathcast.core.settings import load_settings
from pathcast.local import database, processes
from pathcast.local.platform import Platform
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of one test; its parts are started by the test."""
    platform = Platform(tmp_path / "state")
    yield platform
    platform.down()


def test_down_leaves_no_process_and_keeps_the_data(own_platform: Platform) -> None:
    own_platform.start("object_store")
    own_platform.start("database")
    own_platform.start("tracking")
    settings = own_platform.settings()
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    running = [processes.ProcessIdentity.of(process.pid) for process in processes_of(own_platform)]
    assert len(running) > 3
    own_platform.down()
    assert processes_of(own_platform) == []
    assert not any(identity is not None and identity.is_alive() for identity in running)
    assert not (own_platform.state_dir / "platform.env").exists()
    assert {part.state for part in own_platform.status()} == {"stopped"}
    own_platform.down()

    own_platform.start("database")
    assert own_platform.settings() == settings
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_part_that_can_not_start_names_its_log_and_leaves_nothing(own_platform: Platform) -> None:
    own_platform.start("object_store")
    cluster = own_platform.state_dir / "data" / "database" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServiceUnavailableError) as caught:
        own_platform.start("database")
    message = str(caught.value)
    assert str(own_platform.log_path("database")) in message
    assert "ended while it was starting" in message
    assert own_platform.log_path("database").read_text().splitlines()[-1] in message
    states = {part.name: part.state for part in own_platform.status()}
    assert (states["database"], states["object_store"]) == ("stopped", "ready")


def test_a_port_taken_meanwhile_is_replaced_and_known_to_all(own_platform: Platform) -> None:
    own_platform.start("database")
    first = own_platform.settings()
    own_platform.down()
    port = int(first.database_url.get_secret_value().rpartition(":")[2].partition("/")[0])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        own_platform.start("database")
        second = load_settings(own_platform.state_dir)
        assert second.database_url != first.database_url
        psycopg.connect(second.database_url.get_secret_value(), connect_timeout=10).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the database as another user")
def test_the_database_runs_below_folders_that_only_root_can_enter(
    own_platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = database._binaries().parents[1]
    locked = tmp_path / "locked"
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, locked / "site-packages" / folder.name)
    locked.chmod(0o700)
    binaries = locked / "site-packages" / package.name / "pginstall" / "bin"
    monkeypatch.setattr(database, "_binaries", lambda: binaries)
    own_platform.start("object_store")
    own_platform.start("database")
    (running,) = (part for part in own_platform.status() if part.name == "database")
    assert running.state == "ready"
    process = psutil.Process(running.pid)
    assert Path(process.exe()) == binaries / "postgres"
    assert process.uids().effective == pwd.getpwnam("nobody").pw_uid


def start_command(state_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("pathcast")), *arguments, "--state-dir", str(state_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing_running(own_platform: Platform, number: signal.Signals) -> None:
    command = start_command(own_platform.state_dir, "up", "--servers-only")
    assert command.stdout is not None
    seen = ""
    while "tracking: starting" not in seen:
        line = command.stdout.readline()
        assert line, seen
        seen += line
    assert processes_of(own_platform)
    command.send_signal(number)
    rest, _ = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 130, seen + rest
    assert processes_of(own_platform) == []
    assert {part.state for part in own_platform.status()} == {"stopped"}


def test_a_killed_up_is_cleared_away_by_down(own_platform: Platform) -> None:
    command = start_command(own_platform.state_dir, "up", "--servers-only")
    wait_for(lambda: own_platform.log_path("database").exists(), "the start of the database")
    command.kill()
    command.communicate(timeout=LIMIT_S)
    own_platform.down()
    assert processes_of(own_platform) == []


@pytest.mark.timeout(900)
def test_two_ups_at_once_start_one_platform(own_platform: Platform) -> None:
    commands = [start_command(own_platform.state_dir, "up", "--servers-only") for _ in range(2)]
    try:
        outputs = [command.communicate(timeout=400)[0] for command in commands]
    finally:
        for command in commands:
            command.kill()
    assert [command.returncode for command in commands] == [0, 0], outputs
    assert sum("kafka: starting" in output for output in outputs) == 1, outputs
    leaders = [
        identity
        for identity in processes.marked(f"{instance(own_platform)}/")
        if os.getsid(identity.pid) == identity.pid and psutil.Process(identity.pid).name() in {"tansu", "weed"}
    ]
    assert len(leaders) == 2
    assert {part.state for part in own_platform.status() if part.name in SERVERS} == {"ready"}


def test_an_interrupted_down_stops_everything(own_platform: Platform) -> None:
    own_platform.start("database")
    command = start_command(own_platform.state_dir, "down")
    assert command.stdout is not None
    assert "stopping" in command.stdout.readline()
    for number in (signal.SIGINT, signal.SIGTERM):
        command.send_signal(number)
    rest, _ = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 0, rest
    assert processes_of(own_platform) == []


def test_a_published_model_that_does_not_load_is_named_and_keeps_nothing_from_starting(own_platform: Platform) -> None:
    own_platform.start("object_store")
    store = object_store(own_platform.settings())
    for key, content in {"config.pbtxt": b'backend: "onnxruntime"', "1/model.onnx": b"no model"}.items():
        store.put_object("models", f"triton/broken/{key}", io.BytesIO(content), len(content))
    said: list[tuple[str, str]] = []
    own_platform.up(servers_only=True, on_progress=lambda name, message: said.append((name, message)))
    (message,) = (message for name, message in said if name == "triton" and message.startswith("ready"))
    assert message.startswith("ready, but without models that do not load: broken: ")
