import json
import os
import sys

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import PathcastError
from pathcast.local import services
from pathcast.local.parts import Site, configuration_digest
from pathcast.local.platform import Platform, log_tail
from pathcast.local.ports import choose_ports
from pathcast.local.processes import Command, ProcessIdentity
from pathcast.local.state import Credentials, PlatformState, RunningPart


def test_a_platform_that_never_started_is_stopped_and_stays_so(tmp_path):
    platform = Platform(tmp_path / "state")
    assert {part.state for part in platform.status()} == {"stopped"}
    platform.down()
    assert not (tmp_path / "state").exists()
    with pytest.raises(PathcastError, match="no platform"):
        platform.settings()


def test_an_unknown_part_is_named_with_those_there_are(tmp_path):
    platform = Platform(tmp_path)
    for call in (platform.start, platform.kill, platform.restart, platform.log_path):
        with pytest.raises(PathcastError, match="'broker'") as caught:
            call("broker")
        assert "kafka" in str(caught.value)


def test_down_leaves_a_stranger_alone_that_got_the_id_of_a_dead_part(tmp_path):
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    dead = ProcessIdentity(own.pid, own.started_ticks - 500, own.boot_id)
    PlatformState("0123", {}, {"recorder": RunningPart(dead, "")}).save(tmp_path)
    platform = Platform(tmp_path)
    assert {part.name: part.state for part in platform.status()}["recorder"] == "dead"
    platform.kill("recorder")
    platform.down()
    state = PlatformState.load(tmp_path)
    assert state is not None
    assert state.parts == {}


def test_services_without_their_package_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(services.importlib.util, "find_spec", lambda name: None)
    platform = Platform(tmp_path)
    with pytest.raises(PathcastError, match="`streaming` is not installed") as caught:
        platform.start("archiver")
    assert "--servers-only" in str(caught.value)


def test_no_part_has_a_secret_on_its_command_line(tmp_path):
    credentials = Credentials.load_or_generate(tmp_path)
    platform = Platform(tmp_path)
    names = [port for part in platform._parts.values() for port in part.port_names]
    site = Site(tmp_path, "abc", choose_ports(names, {}), credentials)
    for part in platform._parts.values():
        site.data_dir(part.name).mkdir(parents=True)
        line = " ".join(part.command(site).argv)
        assert not any(secret in line for secret in vars(credentials).values()), part.name


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"argv": ("a", "c")}, True),
        ({"env": {"X": "2"}}, True),
        ({"env": {"X": "1", "PATH": "/bin"}}, False),
        ({}, False),
    ],
)
def test_a_part_is_started_anew_when_its_own_configuration_changed(tmp_path, change, differs):
    before = {"argv": ("a", "b"), "env": {"X": "1", "PATH": "/usr/bin"}, "cwd": tmp_path}
    changed = configuration_digest(Command(**{**before, **change})) != configuration_digest(Command(**before))
    assert changed is differs


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "(there is no log yet)"), ("", "(the log is empty)"), ("a\n", "a"), ("a\nb\nc\nd\n", "b\nc\nd"),
     ("x" * 100_000 + "\nend\n", "x" * 63_995 + "\nend")],
)  # fmt: skip
def test_the_end_of_a_log(tmp_path, content, expected):
    path = tmp_path / "part.log"
    if content is not None:
        path.write_text(content)
    assert log_tail(path, 3) == expected


def test_logs_prints_the_last_lines(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "kafka.log").write_text("one\ntwo\nthree\n")
    result = CliRunner().invoke(app, ["logs", "kafka", "-n", "2", "--state-dir", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "two\nthree\n")
    missing = CliRunner().invoke(app, ["logs", "triton", "--state-dir", str(tmp_path)])
    assert isinstance(missing.exception, PathcastError)


def test_status_of_nothing_as_a_table_and_in_a_file(tmp_path):
    file = tmp_path / "status.json"
    table = CliRunner().invoke(app, ["status", "--json", str(file), "--state-dir", str(tmp_path / "state")]).stdout
    assert all(name in table for name in Platform(tmp_path).names)
    parts = json.loads(file.read_text())["parts"]
    assert [part["name"] for part in parts] == list(Platform(tmp_path).names)
    assert {"kind", "address", "pid", "state", "memory_mb", "uptime_s", "log"} < set(parts[0])


def test_services_get_the_platforms_addresses_and_their_own_tuning(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHCAST_ARCHIVER_PACK_SECONDS", "2")
    monkeypatch.setenv("PATHCAST_RECORDER_BATCH", "5")
    monkeypatch.setenv("PATHCAST_DATABASE_URL", "postgresql://elsewhere/other")
    names = ["kafka", "database", "object_store", "triton", "tracking", "archiver.metrics"]
    site = Site(tmp_path, "abc", choose_ports(names, {}), Credentials.load_or_generate(tmp_path))
    command = services.Archiver().command(site)
    assert command.argv == (sys.executable, "-m", "streaming.archiver")
    assert command.env["PATHCAST_DATABASE_URL"] == site.database_url()
    assert command.env["PATHCAST_ARCHIVER_PACK_SECONDS"] == "2"
    assert "PATHCAST_RECORDER_BATCH" not in command.env
