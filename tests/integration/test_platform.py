import base64
import io
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from minio import Minio
from minio.error import S3Error

from pathcast.core.errors import ServiceUnavailableError
from pathcast.core.settings import PlatformSettings, load_settings
from pathcast.local import database, processes
from pathcast.local.platform import Platform
from pathcast.local.state import Credentials, PlatformState
from pathcast.registry.publishing import object_store
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

SERVERS = ("object_store", "database", "kafka", "tracking", "triton")
LIMIT_S = 60.0


def wait_for(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {limit_s} s"
        time.sleep(0.02)


def instance(platform: Platform) -> str:
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    return state.instance


def pids(platform: Platform) -> dict[str, int | None]:
    return {part.name: part.pid for part in platform.status()}


def processes_of(platform: Platform) -> list[psutil.Process]:
    """Every process of the platform, also those that overwrote their marks."""
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    found = [member for part in state.parts.values() for member in processes.family(part.identity)]
    found += processes.marked(f"{state.instance}/")
    found += [
        identity
        for process in psutil.process_iter()
        if str(platform.state_dir) in _folder(process) and (identity := processes.ProcessIdentity.of(process.pid))
    ]
    alive = []
    for pid in sorted({identity.pid for identity in found}):
        with suppress(psutil.NoSuchProcess):  # it ended between the two looks
            alive.append(psutil.Process(pid))
    return alive


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def s3(settings: PlatformSettings) -> Minio:
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=False,
    )


def produce(settings: PlatformSettings, topic: str, values: list[bytes]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    if topic not in admin.list_topics():
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all")
    for sent in [producer.send(topic, value, partition=0) for value in values]:
        sent.get(timeout=30)
    producer.close()


def consume(settings: PlatformSettings, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    values: list[bytes] = []
    deadline = time.monotonic() + LIMIT_S
    while len(values) < count and time.monotonic() < deadline:
        values += [record.value for batch in consumer.poll(timeout_ms=500).values() for record in batch]
    consumer.close()
    return values


def request(url: str, user_and_password: str | None = None) -> int:
    asked = urllib.request.Request(url)  # noqa: S310
    if user_and_password is not None:
        asked.add_header("Authorization", "Basic " + base64.b64encode(user_and_password.encode()).decode())
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def ask_tracking(settings: PlatformSettings, program: str) -> str:
    """Run a program that uses MLflow in a process of its own, as training does, and give its output."""
    uri = settings.mlflow_tracking_uri.get_secret_value()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    code = f"import mlflow\nclient = mlflow.MlflowClient()\n{program}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


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
        assert part.uptime_s < 3600
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
    listening = [
        (process.name(), connection.laddr.ip)
        for process in processes_of(platform)
        for connection in process.connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= len(SERVERS)
    assert {ip.removeprefix("::ffff:") for _, ip in listening} == {"127.0.0.1"}, listening


def test_secrets_are_in_private_files_only(platform: Platform) -> None:
    secrets = [secret.encode() for secret in vars(Credentials.load_or_generate(platform.state_dir)).values()]
    for process in processes_of(platform):
        line = "\0".join(process.cmdline()).encode()
        assert not any(secret in line for secret in secrets), process.name()
    holders = set()
    for path in platform.state_dir.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 5_000_000:
            content = path.read_bytes()
            if any(secret in content for secret in secrets):
                holders.add(str(path.relative_to(platform.state_dir)))
                assert path.stat().st_mode & 0o077 == 0, path
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
    # The children first stop, so that they are still there when the next server is started.
    for orphan in orphans[:1]:
        os.kill(orphan.pid, signal.SIGSTOP)
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
        # A shell's background job would hand down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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


def test_two_ups_at_once_start_one_platform(own_platform: Platform) -> None:
    commands = [start_command(own_platform.state_dir, "up", "--servers-only") for _ in range(2)]
    outputs = [command.communicate(timeout=120)[0] for command in commands]
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
