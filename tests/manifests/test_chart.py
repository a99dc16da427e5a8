import importlib.util
import itertools
import json
import os
import re
import subprocess
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pathcast.core.settings import PlatformSettings
from pathcast.messaging.analyzer import AnalyzerSettings
from pathcast.messaging.archiver import ArchiverSettings
from pathcast.messaging.recorder import RecorderSettings
from pathcast.messaging.security import KafkaSecurity
from pathcast.messaging.service import ServiceSettings
from streaming.producer.__main__ import ProducerSettings, camera_streams
from tests.manifests.objects import CHART, ROOT, Json, at, lint, name_of, parse, render, values_files
from tests.manifests.tools import helm
from tests.manifests.worlds import built

GOLDEN = ROOT / "tests" / "golden" / "helm"
SERVICE_SETTINGS = {
    "archiver": ArchiverSettings,
    "analyzer": AnalyzerSettings,
    "recorder": RecorderSettings,
    "producer": ProducerSettings,
}


@cache
def rendered(values: str, *settings: str) -> list[Json]:
    return parse(render([CHART / values], settings))


def containers(resources: list[Json]) -> dict[str, Json]:
    """The container of each service, by its name; of several producers the last."""
    workloads = [item for item in resources if item["kind"] in ("Deployment", "StatefulSet")]
    return {
        box["name"]: {**box, "labels": at(item, "spec", "template", "metadata", "labels")}
        for item in workloads
        for box in at(item, "spec", "template", "spec", "containers")
    }


def environment(container: Json) -> dict[str, str]:
    """The variables as a process gets them: Secrets read `from-secret`, the pod is number 0."""
    variables: dict[str, str] = {}
    for entry in container["env"]:
        source = entry.get("valueFrom")
        value = entry.get("value", "0" if source and "fieldRef" in source else "rtsp://u:from-secret@camera/1")
        known = dict(variables)
        variables[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], value)  # noqa: B023
    return variables


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_helm_lints_the_chart(values: Path) -> None:
    lint(values)


@pytest.mark.parametrize("name", ["gpu", "minimal"])
def test_the_rendered_chart_is_the_golden_one(name: str) -> None:
    text, golden = render([CHART / "ci" / f"{name}.yaml"]), GOLDEN / f"{name}.yaml"
    if os.environ.get("PATHCAST_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "after an intended change: make golden"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("archiver.replica=3",), "replica"),
        (("analyzer.replicas=0",), "minimum"),
        (("image.digest=sha256:12",), "pattern"),
        (("cameras[0].id=Gate 1", "cameras[0].address=rtsp://c/1"), "pattern"),
        (("cameras[0].id=gate",), "oneOf"),
        (("cameras[0].id=gate", "cameras[0].address=rtsp://user:word@camera/1"), "pattern"),
        (
            ("cameras[0].id=g", "cameras[0].address=rtsp://c/1", "cameras[1].id=g", "cameras[1].address=rtsp://c/2"),
            "expected every id once",
        ),
        (("tracking.uri=http://user:word@mlflow:5000",), "pattern"),
        (("logLevel=LOUD",), "logLevel"),
        # What the monitor itself refuses, so that it does not fail in the cluster.
        (("monitor.definitions.forecaster.min_windows=1",), "minimum"),
        (("monitor.definitions.forecaster.window_minutes=0",), "minimum"),
        (("monitor.definitions.forecaster.window_minutes=6000000",), "maximum"),
        (("monitor.definitions.forecaster.reference_hours=90000",), "maximum"),
        (("monitor.definitions.forecaster.confidence=1",), "exclusiveMaximum"),
        (("monitor.definitions.forecaster.looks=1000001",), "maximum"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        render(settings=settings)
    assert message in caught.value.stderr


def test_the_trackers_settings_reach_the_analyzer_as_json(tmp_path: Path) -> None:
    values = tmp_path / "tracker.yaml"
    values.write_text("analyzer: {tracker: {confirm_hits: 2, motion.measurement_std: 0.1}}")
    found = environment(containers(parse(render([CHART / "ci" / "minimal.yaml", values])))["analyzer"])
    assert json.loads(found["PATHCAST_ANALYZER_TRACKER"]) == {"confirm_hits": 2, "motion.measurement_std": 0.1}
    assert "PATHCAST_ANALYZER_TRACKER" not in environment(containers(rendered("ci/minimal.yaml"))["analyzer"])


def test_every_value_is_described_and_set_as_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft202012Validator.check_schema(schema)

    def undescribed(part: Json, path: str) -> list[str]:
        found = [] if part.get("description") or not path else [path]
        for name, inner in part.get("properties", {}).items():
            found += undescribed(inner, f"{path}.{name}")
        items = part.get("items", {})
        return found + (undescribed(items, f"{path}[]") if "properties" in items else [])

    assert undescribed(schema, "") == []
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert list(Draft202012Validator(schema).iter_errors(values)) == []
    assert values.keys() == schema["properties"].keys() - {"global"}


@pytest.mark.parametrize("values", ["values.yaml", "ci/gpu.yaml", "ci/cpu.yaml", "ci/plain.yaml"])
def test_the_services_understand_their_environment(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {f"PATHCAST_{name.upper()}" for name in (*PlatformSettings.model_fields, *ServiceSettings.model_fields)}
    for name, container in containers(rendered(values)).items():
        variables = environment(container)
        settings = SERVICE_SETTINGS[name]
        own = {f"PATHCAST_{name.upper()}_{field.upper()}" for field in settings.model_fields}
        assert {key for key in variables if key.startswith("PATHCAST_")} <= fields | own
        for key in [key for key in os.environ if key.startswith("PATHCAST_")]:
            monkeypatch.delenv(key)
        for key, value in variables.items():
            monkeypatch.setenv(key, value)
        platform, service = PlatformSettings(), ServiceSettings()  # type: ignore[call-arg]
        assert service.metrics_port == 9090
        assert service.instance.index == 0
        security = KafkaSecurity.of(platform).options()["security_protocol"]
        assert security == ("PLAINTEXT" if "plain" in values else "SASL_SSL")
        own_settings = settings()
        if isinstance(own_settings, ProducerSettings):
            assert [camera.source for camera in camera_streams(own_settings)]
        else:
            assert platform.database_url.get_secret_value().startswith(f"postgresql://pathcast_{name}@")


def test_no_service_holds_a_way_into_a_server_that_it_does_not_use() -> None:
    secrets = {
        name: {at(entry, "valueFrom", "secretKeyRef", "name") for entry in box["env"]} - {None}
        for name, box in containers(rendered("ci/gpu.yaml")).items()
    }
    assert secrets == {
        "producer": {"pathcast-producer", "cameras"},
        "archiver": {"pathcast-archiver", "timescaledb-passwords", "minio-users"},
        "analyzer": {"pathcast-analyzer", "timescaledb-passwords"},
        "recorder": {"pathcast-recorder", "timescaledb-passwords"},
    }


def test_what_cannot_change_in_an_upgrade_does_not() -> None:
    """A StatefulSet's selector and service, a Deployment's selector: a server refuses to change them."""

    def fixed(values: str, *settings: str) -> dict[str, Any]:
        return {
            name_of(item): (at(item, "spec", "selector"), at(item, "spec", "serviceName"))
            for item in rendered(values, *settings)
            if item["kind"] in ("Deployment", "StatefulSet")
        }

    before = fixed("ci/gpu.yaml")
    after = fixed("ci/gpu.yaml", "image.tag=9.9.9", "podLabels.team=video", "analyzer.replicas=12", "logLevel=DEBUG")
    assert before == after


def test_upgrades_stop_one_pod_of_a_service_at_a_time_and_let_it_finish() -> None:
    for item in rendered("ci/gpu.yaml"):
        if item["kind"] == "StatefulSet":
            assert at(item, "spec", "updateStrategy") == {"type": "RollingUpdate"}
            assert at(item, "spec", "template", "spec", "terminationGracePeriodSeconds") >= 60
        if item["kind"] == "Deployment":
            assert at(item, "spec", "strategy", "rollingUpdate") == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_release_of_another_name_stands_beside_the_first() -> None:
    first = {name_of(item) for item in rendered("ci/gpu.yaml")}
    dry = subprocess.run(
        [str(helm()), "template", "second", str(CHART), "--namespace", "pathcast"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not first & {name_of(item) for item in parse(dry)}


class _Page(BaseHTTPRequestHandler):
    text = b"pathcast_lag_seconds 0\n"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("page", "triton_fault", "code"), [
    (b"pathcast_lag_seconds 0\n", None, 0),
    (b"nothing\n", None, 1),
    (b"pathcast_lag_seconds 0\n", "model detector is not loaded", 1),
])  # fmt: skip
def test_the_smoke_test_sees_what_does_not_work(page: bytes, triton_fault: str | None, code: int) -> None:
    spec = importlib.util.spec_from_file_location("smoke_test", CHART / "files" / "smoke_test.py")
    smoke = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(smoke)
    smoke.WAIT_S = 0
    smoke.fault_of_triton = lambda address, model: triton_fault
    server = HTTPServer(("127.0.0.1", 0), type("Page", (_Page,), {"text": page}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        arguments = ["triton=t:1", "model=detector", f"archiver=127.0.0.1:{server.server_port}"]
        assert smoke.main(arguments, limit_s=0) == code
        assert smoke.main([*arguments, "analyzer=127.0.0.1:1"], limit_s=0) == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_the_deployer_may_make_what_the_chart_makes_and_give_the_rights_it_gives(values: Path) -> None:
    (role,) = [item for item in built("deployer") if item["kind"] == "Role"]
    held = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for item in rendered(str(values)):
        group = item["apiVersion"].rpartition("/")[0]
        plural = re.sub("y$", "ie", item["kind"].lower()) + "s"
        for verb in ("create", "delete", "get", "list", "patch", "watch"):
            assert (group, plural, verb) in held
        for rule in item.get("rules", ()) if item["kind"] == "Role" else ():
            given = itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
            assert set(given) <= held
