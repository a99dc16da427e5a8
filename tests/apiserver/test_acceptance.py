"""Every custom resource of this project, sent to Kubernetes' own API server: strict decoding, schemas, CEL rules."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from pathcast.training.job_objects import JobRequest, tf_job, train_job
from tests.apiserver.server import Json, Server, running
from tests.manifests.objects import name_of
from tests.manifests.schemas import crds_dir
from tests.manifests.worlds import WORLDS, world

pytestmark = pytest.mark.timeout(3600)

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def definitions() -> list[Json]:
    files = sorted(crds_dir().glob("*/*.yaml"))
    parsed = [item for file in files for item in yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader)]  # noqa: S506
    return [item for item in parsed if item]


@pytest.fixture(scope="module")
def server(definitions: list[Json], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("apiserver")) as started:
        for definition in definitions:
            status, answer = started.ask("POST", DEFINITIONS, definition)
            assert status == 201, answer["message"]

        @retry(retry=retry_if_result(lambda done: not done), stop=stop_after_delay(60), wait=wait_fixed(0.2))
        def served() -> bool:
            items = started.ask("GET", DEFINITIONS)[1]["items"]
            conditions = [{c["type"]: c["status"] for c in item["status"].get("conditions") or ()} for item in items]
            return all(found.get("Established") == "True" for found in conditions)

        assert served()
        yield started


def places(definitions: list[Json]) -> dict[tuple[str, str], str]:
    """Where objects of a kind are created, but for the namespace's name."""
    found = {}
    for spec in (definition["spec"] for definition in definitions):
        for version in spec["versions"]:
            base = f"/apis/{spec['group']}/{version['name']}/"
            base += "namespaces/{namespace}/" if spec["scope"] == "Namespaced" else ""
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = base + spec["names"]["plural"]
    return found


def create(server: Server, definitions: list[Json], resource: Json) -> tuple[int, str]:
    """What the server says to the object, which it does not keep."""
    place = places(definitions)[resource["apiVersion"], resource["kind"]]
    path = place.format(namespace=resource["metadata"].get("namespace", "pathcast"))
    status, answer = server.ask("POST", f"{path}?dryRun=All&fieldValidation=Strict", resource)
    return status, str(answer.get("message", ""))


def request(**changes: object) -> JobRequest:
    values: dict[str, object] = {
        "name": "run-1",
        "namespace": "pathcast",
        "image": "train:1",
        "arguments": ["forecaster"],
    }
    values |= {"workers": 2, "gpus": 1, "nodes": {"gpu": "true"}, "deadline_s": 60}
    return JobRequest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WORLDS)
def test_every_object_is_taken(server: Server, definitions: list[Json], name: str) -> None:
    custom = [item for item in world(name) if (item["apiVersion"], item["kind"]) in places(definitions)]
    assert custom
    answers = {name_of(item): create(server, definitions, item) for item in custom}
    assert {what: said for what, said in answers.items() if said[0] != 201} == {}
    kinds = sorted({item["kind"] for item in custom})
    print(f"\n{name}: {len(custom)} objects taken, of {', '.join(kinds)}")


@pytest.mark.parametrize("build", [tf_job, train_job])
@pytest.mark.parametrize("gpus", [0, 2])
def test_the_jobs_of_pipelines_are_taken(server: Server, definitions: list[Json], build, gpus: int) -> None:
    assert create(server, definitions, build(request(gpus=gpus))) == (201, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nothing": 1}, "unknown field"),
        ({"managedBy": "me"}, "ManagedBy must be"),
        ({"activeDeadlineSeconds": "soon"}, "activeDeadlineSeconds"),
    ],
)
def test_the_server_does_look(server: Server, definitions: list[Json], change: Json, message: str) -> None:
    job = json.loads(json.dumps(train_job(request())))
    status, said = create(server, definitions, {**job, "spec": {**job["spec"], **change}})
    assert status in (400, 422)
    assert message in said
