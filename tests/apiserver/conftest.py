"""One API server for all tests of this folder, with the CRDs that the platform stands on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from tests.apiserver.server import Server, running
from tests.manifests.objects import NAMESPACE
from tests.manifests.schemas import crds_dir
from tests.manifests.worlds import WORLDS, world

# Katib's own definition says little more; tests/manifests/katib.yaml looks closer.
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCHEMA = {"type": "object", "properties": {"spec": _ANYTHING, "status": _ANYTHING}}
KATIB = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "experiments.kubeflow.org"},
    "spec": {
        "group": "kubeflow.org",
        "scope": "Namespaced",
        "names": {"plural": "experiments", "singular": "experiment", "kind": "Experiment"},
        "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _SCHEMA}}],
    },
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = sorted(crds_dir().glob("*/*.yaml"))
    parsed = [item for file in files for item in yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader)]  # noqa: S506
    with running(tmp_path_factory.mktemp("apiserver")) as started:
        for definition in (*(item for item in parsed if item), KATIB):
            status, answer = started.ask("POST", DEFINITIONS, definition)
            assert status == 201, answer["message"]
        objects = [item for name in WORLDS for item in world(name)]
        for name in sorted({NAMESPACE} | {item["metadata"].get("namespace", NAMESPACE) for item in objects}):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            assert started.ask("POST", "/api/v1/namespaces", namespace)[0] == 201

        @retry(retry=retry_if_result(lambda done: not done), stop=stop_after_delay(60), wait=wait_fixed(0.2))
        def served() -> bool:
            items = started.ask("GET", DEFINITIONS)[1]["items"]
            conditions = [{c["type"]: c["status"] for c in item["status"].get("conditions") or ()} for item in items]
            return all(found.get("Established") == "True" for found in conditions)

        assert served()
        yield started


@pytest.fixture(scope="session")
def access(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A KUBECONFIG for the server."""
    return server.write_access(tmp_path_factory.mktemp("access") / "config")
