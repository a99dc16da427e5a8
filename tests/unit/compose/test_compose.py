import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.compose import credentials
from deployments.compose.credentials import (
    COMPOSE,
    IMAGES,
    complete,
    make_data_folder,
    read_environment,
    required_names,
)
from pathcast.core.settings import PlatformSettings
from tests.manifests.tools import ToolMissing, compose
from tests.unit.compose.rules import Document, interpolate, problems

FOLDER = COMPOSE.parent
TEXT = COMPOSE.read_text()
RAW: Document = yaml.safe_load(TEXT)
VARIABLES = complete({}, required_names(TEXT))
DELETE = object()

CORRUPTIONS: list[tuple[tuple[str | int, ...], Any]] = [
    (("services", "analyzer", "read_only"), False),
    (("services", "analyzer", "read_only"), "yes, please"),
    (("services", "analyzer", "read_onyl"), True),
    (("services", "analyzer", "cap_drop"), DELETE),
    (("services", "analyzer", "cap_add"), ["NET_ADMIN"]),
    (("services", "analyzer", "security_opt"), []),
    (("services", "analyzer", "user"), "0:0"),
    (("services", "analyzer", "user"), "root"),
    (("services", "analyzer", "user"), DELETE),
    (("services", "analyzer", "privileged"), True),
    (("services", "analyzer", "network_mode"), "host"),
    (("services", "analyzer", "networks"), ["plattform"]),
    (("services", "analyzer", "networks"), []),
    (("services", "analyzer", "restart"), "always-ish"),
    (("services", "analyzer", "restart"), "no"),
    (("services", "analyzer", "stop_grace_period"), "a minute"),
    (("services", "analyzer", "image"), "pathcast-stream"),
    (("services", "analyzer", "image"), "localhost/pathcast-stream:latest"),
    (("services", "analyzer", "environment", "PGPASSWORD"), "hunter2"),
    (("services", "analyzer", "environment", "PGPASSWORD"), "${DATABASE_ANALYZER_PASSWORD:-pathcast}"),
    (("services", "analyzer", "environment", "PATHCAST_DATABASE_URL"), "postgresql://a:b@timescaledb/pathcast"),
    (("services", "archiver", "environment", "PATHCAST_S3_SECRET_KEY"), "minio123"),
    (("services", "analyzer", "depends_on", "topics"), {"condition": "service_done"}),
    (("services", "analyzer", "depends_on", "topics"), {"condition": "service_healthy"}),
    (("services", "analyzer", "depends_on", "topic"), {"condition": "service_started"}),
    (("services", "migration", "depends_on", "timescaledb"), {"condition": "service_completed_successfully"}),
    (("services", "timescaledb", "ports"), ["5432:5432"]),
    (("services", "timescaledb", "ports"), ["0.0.0.0:5432:5432"]),
    (("services", "timescaledb", "ports"), ["127.0.0.1:5432:99999"]),
    (("services", "timescaledb", "networks"), ["platform"]),
    (("services", "timescaledb", "healthcheck", "interval"), "often"),
    (("services", "timescaledb", "healthcheck", "test"), DELETE),
    (("services", "timescaledb", "volumes", 0), "timescale:/var/lib/postgresql"),
    (("services", "timescaledb", "volumes", 1), "../timescaledb/base/role.sql:/docker-entrypoint-initdb.d/a.sql:ro"),
    (("services", "timescaledb", "shm_size"), "half"),
    (("services", "minio", "environment", "MINIO_ROOT_PASSWORD"), "minioadmin"),
    (("services", "kafka", "tmpfs"), {"/copies": True}),
    (("services", "buckets", "command", 0), "printf $ROOT_PASSWORD"),
    (("networks", "platform", "internal"), False),
    (("networks", "platform"), {"internall": True}),
    (("volumes",), {"kafka": {}}),
    (("services", "analyzer", "image"), "${NOT_KNOWN:?}"),
    (("service",), {}),
]  # fmt: skip


def _corrupted(path: tuple[str | int, ...], value: Any) -> Document:
    document = copy.deepcopy(RAW)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    if value is DELETE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


def test_the_compose_file_has_no_problem() -> None:
    assert problems(RAW, VARIABLES, FOLDER) == []


@pytest.mark.parametrize(("path", "value"), CORRUPTIONS, ids=lambda value: "deleted" if value is DELETE else str(value))
def test_a_corrupted_compose_file_is_noticed(path: tuple[str | int, ...], value: Any) -> None:
    assert problems(_corrupted(path, value), VARIABLES, FOLDER)


def test_the_gpu_file_changes_triton_alone() -> None:
    gpu = yaml.safe_load((FOLDER / "compose.gpu.yaml").read_text())
    assert gpu["services"].keys() == {"triton"}
    merged = copy.deepcopy(RAW)
    triton = merged["services"]["triton"]
    assert set(triton["command"]) < set(gpu["services"]["triton"]["command"])
    triton |= {**gpu["services"]["triton"], "tmpfs": triton["tmpfs"] + gpu["services"]["triton"]["tmpfs"]}
    assert problems(merged, VARIABLES, FOLDER) == []


def _as_docker_has_it(variables: dict[str, str], folder: Path, *files: str) -> Document:
    """The services as `docker compose` merges, fills in and checks them; they are not started."""
    try:
        program = compose()
    except ToolMissing as error:
        pytest.skip(f"the compose file is NOT read by docker compose: {error}")
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    command = [str(program), "--env-file", str(folder / ".env"), "--profile", "cameras"]
    command += [part for name in files for part in ("--file", str(FOLDER / name))]
    done = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True, env={"HOME": "/"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_docker_compose_reads_the_files_as_we_do(tmp_path: Path) -> None:
    services = _as_docker_has_it(VARIABLES, tmp_path, "compose.yaml")
    ours = interpolate(RAW, VARIABLES)["services"]
    assert services.keys() == ours.keys()
    for name, service in ours.items():
        wanted = {key: None if value is None else str(value) for key, value in service.get("environment", {}).items()}
        assert (services[name].get("environment") or {}) == wanted
        assert services[name]["image"] == service["image"]
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name].get("networks", {}).keys() == set(service["networks"])
    with_gpu = _as_docker_has_it(VARIABLES, tmp_path, "compose.yaml", "compose.gpu.yaml")
    assert {name for name in services if services[name] != with_gpu[name]} == {"triton"}
    assert set(with_gpu["triton"]["tmpfs"]) == {*services["triton"]["tmpfs"], "/engines:uid=1000,gid=1000"}
    assert set(with_gpu["triton"]["command"]) == {*services["triton"]["command"], "--model-config-name=gpu"}


def test_docker_compose_asks_for_what_is_missing(tmp_path: Path) -> None:
    known = {name: value for name, value in VARIABLES.items() if name != "DATABASE_OWNER_PASSWORD"}
    with pytest.raises(AssertionError, match="make compose-credentials"):
        _as_docker_has_it(known, tmp_path, "compose.yaml")


def test_services_are_told_what_they_must_know() -> None:
    needed = {
        f"PATHCAST_{name.upper()}" for name, field in PlatformSettings.model_fields.items() if field.is_required()
    }
    services = [RAW["services"][name] for name in ("producer", "archiver", "analyzer", "recorder")]
    for service in services:
        assert needed <= service["environment"].keys()
        assert service["command"][0].removeprefix("streaming.") in RAW["services"]


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A:?why}", "1"),
        ("${B:-2}:${A}", "2:1"),
        ("${C:-}", ""),
        ("$$A", "$A"),
        ("plain", "plain"),
    ],
)
def test_interpolation(text: str, filled: str) -> None:
    assert interpolate({"key": [text]}, {"A": "1"}) == {"key": [filled]}


def test_a_missing_variable_is_an_error() -> None:
    with pytest.raises(KeyError, match="B"):
        interpolate("${B:?why}", {"A": "1"})


def test_credentials_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = tmp_path / ".env"
    environment.write_text("MINIO_ROOT_PASSWORD=mine\nCAMERAS={}\n# a remark = none\n")
    monkeypatch.setattr(credentials, "FOLDER", tmp_path)
    monkeypatch.setattr(credentials, "ENVIRONMENT", environment)
    assert credentials.main() == 0
    first = environment.read_text()
    assert environment.stat().st_mode & 0o777 == 0o600
    values = read_environment(first)
    assert values["MINIO_ROOT_PASSWORD"] == "mine"
    assert values["CAMERAS"] == "{}"
    assert set(required_names(TEXT)) <= values.keys()
    generated = [value for name, value in values.items() if name.endswith(("PASSWORD", "KEY")) and value != "mine"]
    assert len(generated) == 13
    assert len(set(generated)) == len(generated)
    assert all(len(value) >= 32 for value in generated)
    assert credentials.main() == 0
    assert environment.read_text() == first
    assert (tmp_path / "data" / "minio").stat().st_uid == int(values["MINIO_USER"].split(":")[0])


def test_the_data_folder_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "object").touch()
    owner = folder.stat()
    make_data_folder(folder, f"{owner.st_uid}:{owner.st_gid}")
    assert (folder / "object").exists()


def test_image_names_are_those_of_the_cluster() -> None:
    for name, kustomization in (
        ("TIMESCALEDB_IMAGE", "timescaledb"),
        ("MINIO_IMAGE", "minio"),
        ("MINIO_CLIENT_IMAGE", "minio"),
        ("MLFLOW_IMAGE", "mlflow"),
    ):
        listed = yaml.safe_load((FOLDER.parent / kustomization / "base" / "kustomization.yaml").read_text())["images"]
        assert IMAGES[name] in [f"{image['name']}:{image['newTag']}" for image in listed]
    cluster = (FOLDER.parent / "kafka" / "base" / "cluster.yaml").read_text()
    assert yaml.safe_load(cluster)["spec"]["kafka"]["version"] == IMAGES["KAFKA_IMAGE"].rpartition(":")[2]
