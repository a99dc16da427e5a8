"""The chart's whole life under a real helm and API server. No pod runs: controllers.py says that they are ready."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.release import TAKE_OVER, rollback_command
from tests.apiserver.controllers import controllers
from tests.apiserver.server import Json, Server
from tests.manifests.objects import CHART, NAMESPACE, RELEASE, name_of, parse, values_files
from tests.manifests.tools import helm

pytestmark = pytest.mark.timeout(3600)

WHERE = ("--namespace", NAMESPACE)
PATIENTLY = ("--wait", "--timeout", "2m")
CHANGES = ("--set", "logLevel=DEBUG,podLabels.release=next,image.tag=9.9.9,analyzer.replicas=3,recorder.replicas=2")


class Helm:
    def __init__(self, access: Path, home: Path) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(access), "HOME": str(home)}

    def try_out(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(helm()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=self._environment)

    def __call__(self, *arguments: str) -> str:
        done = self.try_out(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def manifest(self) -> list[Json]:
        return parse(self("get", "manifest", RELEASE, *WHERE))

    def history(self) -> list[Json]:
        return json.loads(self("history", RELEASE, *WHERE, "--output", "json"))


@pytest.fixture
def client(access: Path, tmp_path: Path) -> Iterator[Helm]:
    made = Helm(access, tmp_path)
    yield made
    made.try_out("uninstall", RELEASE, *WHERE, "--ignore-not-found")


def live(server: Server, objects: list[Json]) -> dict[str, Json]:
    """What the server holds of these objects, without what it notes itself."""
    found = {}
    for item in objects:
        namespace = item["metadata"].get("namespace", NAMESPACE)
        place = server.place(item["apiVersion"], item["kind"], namespace)
        status, answer = server.ask("GET", f"{place}/{item['metadata']['name']}")
        assert status == 200, f"{name_of(item)}: {answer}"
        kept = {key: answer["metadata"].get(key) for key in ("labels", "annotations")}
        found[name_of(item)] = {**answer, "metadata": kept, "status": None}
    return found


def gone(server: Server, objects: list[Json]) -> bool:
    places = (
        server.place(item["apiVersion"], item["kind"], NAMESPACE) + f"/{item['metadata']['name']}" for item in objects
    )
    return all(server.ask("GET", place)[0] == 404 for place in places)


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_installs_upgrades_and_rolls_back(server: Server, client: Helm, values: Path) -> None:
    given = ("--values", str(values))
    with controllers(server):
        client("install", RELEASE, str(CHART), *WHERE, *given, *PATIENTLY)
        first = live(server, client.manifest())
        client("upgrade", RELEASE, str(CHART), *WHERE, *given, *CHANGES, *PATIENTLY)
        second = live(server, client.manifest())
        changed = {name for name in second if second[name] != first.get(name)}
        assert {"StatefulSet/pathcast-analyzer", "StatefulSet/pathcast-recorder"} <= changed
        client(*rollback_command(client.history(), WHERE)[1:])
        objects = client.manifest()
        assert live(server, objects) == first
        assert [entry["status"] for entry in client.history()] == ["superseded", "superseded", "deployed"]
        client("test", RELEASE, *WHERE)
        client("uninstall", RELEASE, *WHERE, *PATIENTLY)
    assert gone(server, objects)


def test_an_upgrade_between_all_sets_of_values(server: Server, client: Helm) -> None:
    with controllers(server):
        for values in (*values_files(), *reversed(values_files())):
            client("upgrade", RELEASE, str(CHART), "--install", *WHERE, "--values", str(values), *PATIENTLY)
            live(server, client.manifest())


def test_an_upgrade_whose_migration_fails_is_taken_back(server: Server, client: Helm) -> None:
    deploy = ("upgrade", RELEASE, str(CHART), "--install", *WHERE, "--rollback-on-failure", *PATIENTLY)
    with controllers(server):
        client(*deploy)
        before = live(server, client.manifest())
    with controllers(server, failing="-migration"):
        done = client.try_out(*deploy, *CHANGES)
    assert done.returncode
    assert "migration" in done.stderr
    assert live(server, client.manifest()) == before


def test_what_people_have_scaled_is_set_anew(server: Server, client: Helm) -> None:
    """As before a restore; the server takes `kubectl scale` for the owner of the field."""
    deploy = ("upgrade", RELEASE, str(CHART), "--install", *WHERE, *PATIENTLY)
    place = server.place("apps/v1", "StatefulSet", NAMESPACE) + "/pathcast-analyzer"
    with controllers(server):
        client(*deploy)
        for command in (lambda: (*deploy, *TAKE_OVER), lambda: rollback_command(client.history(), WHERE)[1:]):
            wanted = server.ask("GET", place)[1]["spec"]["replicas"]
            scaled = server.ask("PATCH", f"{place}?fieldManager=kubectl", {"spec": {"replicas": 0}}, "merge-patch+json")
            assert scaled[0] == 200, scaled[1]
            refused = client.try_out(*deploy)
            assert refused.returncode
            assert "conflict" in refused.stderr
            client(*command())
            assert server.ask("GET", place)[1]["spec"]["replicas"] == wanted > 0


def test_the_server_refuses_what_helm_may_not_change(server: Server, client: Helm) -> None:
    """Else the tests above could not fail by it."""
    with controllers(server):
        client("install", RELEASE, str(CHART), *WHERE, *PATIENTLY)
        place = server.place("apps/v1", "StatefulSet", NAMESPACE) + "/pathcast-analyzer"
        status, answer = server.ask("PATCH", place, {"spec": {"serviceName": "other"}}, "merge-patch+json")
    assert status == 422
    assert "immutable" in answer["message"]
