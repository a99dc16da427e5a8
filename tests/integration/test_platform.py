"""The servers of a running platform: what they do, whom they refuse, what survives a kill."""

import io
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from minio import Minio
from minio.error import S3Error
from support.platform import SERVERS, ask_tracking, consume, pids, processes_of, produce, request, s3
from support.running import GONE, command_lines

from pathcast.core.settings import PlatformSettings, load_settings
from pathcast.local import processes
from pathcast.local.platform import Platform
from pathcast.local.state import Credentials, PlatformState
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration


def test_all_servers_are_ready_and_services_were_not_asked_for(platform: Platform) -> None:
    status = {part.name: part for part in platform.status()}
    assert {name: status[name].state for name in SERVERS} == dict.fromkeys(SERVERS, "ready")
    assert {part.state for name, part in status.items() if name not in SERVERS} == {"stopped"}
    for name in SERVERS:
        part = status[name]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", part.address)
        assert part.pid is not None
        assert part.memory_bytes is not None
        assert part.memory_bytes > 1_000_000
        assert part.uptime_s is not None
        assert 0 <= part.uptime_s <= time.time() - psutil.Process().create_time()
        assert part.log.is_file()


def test_clients_find_the_platform_by_its_file(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PATHCAST_")]:
        monkeypatch.delenv(name)
    assert load_settings(platform.state_dir) == platform.settings()


def test_records_come_back_from_the_broker(platform_settings: PlatformSettings) -> None:
    values = [b"", b"x", os.urandom(60_000), os.urandom(1_000_000)]
    produce(platform_settings, "round-trip", values)
    assert consume(platform_settings, "round-trip", len(values)) == values


def test_rows_come_back_from_the_database(platform_settings: PlatformSettings) -> None:
    with psycopg.connect(platform_settings.database_url.get_secret_value()) as connection:
        connection.execute("CREATE TABLE round_trip (id int, name text)")
        connection.execute("INSERT INTO round_trip VALUES (1, 'é')")
        assert connection.execute("SELECT id, name FROM round_trip").fetchall() == [(1, "é")]
        connection.rollback()
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        version = connection.execute("SHOW server_version_num").fetchone()
        assert version is not None
        assert int(version[0]) >= 180_000


def test_objects_come_back_from_the_store(platform_settings: PlatformSettings) -> None:
    client = s3(platform_settings)
    assert {"frames", "models", "broker"} <= {bucket.name for bucket in client.list_buckets()}
    content = os.urandom(300_000)
    client.put_object("frames", "camera/round trip.bin", io.BytesIO(content), len(content))
    answer = client.get_object("frames", "camera/round trip.bin")
    assert answer.read() == content
    answer.close()


def test_runs_and_files_come_back_from_the_tracking_server(platform_settings: PlatformSettings) -> None:
    program = """
experiment = client.create_experiment("round-trip")
run = client.create_run(experiment)
client.log_metric(run.info.run_id, "ade", 0.25)
client.log_text(run.info.run_id, "what was written", "notes.txt")
print(client.get_run(run.info.run_id).data.metrics["ade"])
print(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes.txt"))
"""
    assert ask_tracking(platform_settings, program).splitlines()[:2] == ["0.25", "what was written"]


def test_triton_answers_its_client(platform_settings: PlatformSettings) -> None:
    with TritonClient(platform_settings.triton_grpc) as client:
        assert client.server_ready()


def test_passwords_are_scram_and_a_wrong_one_is_refused(platform_settings: PlatformSettings) -> None:
    url = platform_settings.database_url.get_secret_value()
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolcanlogin").fetchall()
    assert len(kept) == 2
    assert all(password.startswith("SCRAM-SHA-256$") for (password,) in kept)
    for wrong in (re.sub(r":\w+@", ":wrong@", url), re.sub(r":\w+@", "@", url)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong, connect_timeout=10)


def test_the_tracking_servers_role_stays_in_its_database(platform: Platform) -> None:
    credentials = Credentials.load_or_generate(platform.state_dir)
    own = platform.settings().database_url.get_secret_value()
    url = own.replace("pathcast:" + credentials.database_password, "tracking:" + credentials.tracking_database_password)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url, connect_timeout=10)
    psycopg.connect(url.rpartition("/")[0] + "/tracking", connect_timeout=10).close()


@pytest.mark.parametrize(
    ("access_key", "secret_key", "code"),
    [(None, "wrong", "SignatureDoesNotMatch"), ("nobody", "wrong", "InvalidAccessKeyId"), ("", "", "AccessDenied")],
)
def test_the_object_store_refuses_others(
    platform_settings: PlatformSettings, access_key: str | None, secret_key: str, code: str
) -> None:
    right = platform_settings.s3_access_key.get_secret_value()
    own = s3(platform_settings)
    own.put_object("frames", "private", io.BytesIO(b"secret"), 6)
    other = Minio(
        platform_settings.s3_endpoint,
        access_key=right if access_key is None else access_key or None,
        secret_key=secret_key or None,
        secure=False,
        region="us-east-1",
    )
    with pytest.raises(S3Error) as caught:
        other.get_object("frames", "private")
    assert caught.value.code == code
    with pytest.raises(S3Error):
        other.put_object("frames", "intruder", io.BytesIO(b"x"), 1)


def test_nobody_gets_around_the_object_stores_credentials(platform: Platform) -> None:
    s3(platform.settings()).put_object("frames", "behind", io.BytesIO(b"secret"), 6)
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    filer = f"http://127.0.0.1:{state.ports['object_store.filer']}"
    assert request(f"{filer}/buckets/frames/behind") == 401
    assert request(f"{filer}/buckets/") == 401
    admin = f"http://127.0.0.1:{state.ports['object_store.admin']}"
    assert request(f"{admin}/api/config") == 401
    assert request(f"{admin}/api/config", "pathcast:wrong") == 401


def test_the_tracking_server_refuses_others(platform: Platform) -> None:
    (address,) = (part.address for part in platform.status() if part.name == "tracking")
    url = f"http://{address}/api/2.0/mlflow/experiments/search?max_results=1"
    right = Credentials.load_or_generate(platform.state_dir).tracking_password
    assert request(url, f"pathcast:{right}") == 200
    assert request(url) == 401
    assert request(url, "pathcast:wrong") == 401
    assert request(f"http://{address}/", "admin:password1234") == 401


def test_servers_listen_on_loopback_only(platform: Platform) -> None:
    listening = []
    for process in processes_of(platform):
        with suppress(*GONE):
            name, connections = process.name(), process.connections(kind="inet")
            listening += [(name, each.laddr.ip) for each in connections if each.status == psutil.CONN_LISTEN]
    assert len(listening) >= len(SERVERS)
    assert {ip.removeprefix("::ffff:") for _, ip in listening} == {"127.0.0.1"}, listening


def test_secrets_are_in_private_files_only(platform: Platform) -> None:
    secrets = [secret.encode() for secret in vars(Credentials.load_or_generate(platform.state_dir)).values()]
    for process, line in command_lines(processes_of(platform)).items():
        assert not any(secret in line.encode() for secret in secrets), process
    holders = set()
    for folder, _, names in os.walk(platform.state_dir):
        for path in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # the servers remove files while this looks
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 5_000_000:
                    content, mode = path.read_bytes(), path.stat().st_mode
                    if any(secret in content for secret in secrets):
                        holders.add(str(path.relative_to(platform.state_dir)))
                        assert mode & 0o077 == 0, path
    assert holders == {"credentials.json", "platform.env", "data/object_store/s3.json"}


def test_a_second_up_changes_nothing(platform: Platform) -> None:
    before, said = pids(platform), []
    platform.up(servers_only=True, on_progress=lambda name, message: said.append(message))
    assert pids(platform) == before
    assert set(said) == {"ready"}


@pytest.mark.parametrize("name", SERVERS)
def test_data_survives_a_kill_and_only_the_dead_part_is_started(platform: Platform, name: str) -> None:
    settings = platform.settings()
    values = [os.urandom(20_000) for _ in range(50)]
    topic = f"survivors-{name}"
    produce(settings, topic, values)
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS survivors (name text)")
        connection.execute("INSERT INTO survivors VALUES (%s)", [name])
    s3(settings).put_object("frames", f"survivors/{name}", io.BytesIO(values[0]), len(values[0]))
    ask_tracking(settings, f"client.create_experiment('survivor-{name}')")
    before = pids(platform)

    platform.kill(name)
    assert {part.name: part.state for part in platform.status()}[name] == "dead"
    platform.up(servers_only=True)

    after = pids(platform)
    assert {part for part in SERVERS if after[part] != before[part]} == {name}
    assert {part.name: part.state for part in platform.status() if part.name in SERVERS} == dict.fromkeys(
        SERVERS, "ready"
    )
    assert platform.settings() == settings
    assert consume(settings, topic, len(values)) == values
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        assert connection.execute("SELECT count(*) FROM survivors WHERE name = %s", [name]).fetchone() == (1,)
    answer = s3(settings).get_object("frames", f"survivors/{name}")
    assert answer.read() == values[0]
    answer.close()
    assert ask_tracking(settings, f"print(client.get_experiment_by_name('survivor-{name}').name)") == f"survivor-{name}"
    produce(settings, topic, [b"more"])
    assert consume(settings, topic, len(values) + 1) == [*values, b"more"]


def test_a_killed_main_process_leaves_children_that_the_next_start_clears_away(platform: Platform) -> None:
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    identity = state.parts["database"].identity
    orphans = processes.family(identity)[1:]
    assert orphans
    # One that lives as long as the server first stops, so that it is still there when the next one is started.
    os.kill(min(orphans, key=lambda orphan: orphan.started_ticks).pid, signal.SIGSTOP)
    os.kill(identity.pid, signal.SIGKILL)
    platform.up(servers_only=True)
    assert not any(orphan.is_alive() for orphan in orphans)
    assert {part.name: part.state for part in platform.status()}["database"] == "ready"


def test_restart_gives_a_new_process_at_the_same_address(platform: Platform) -> None:
    before = {part.name: part for part in platform.status()}["kafka"]
    platform.restart("kafka")
    after = {part.name: part for part in platform.status()}["kafka"]
    assert after.pid != before.pid
    assert (after.address, after.state) == (before.address, "ready")
