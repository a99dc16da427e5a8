"""Every object of this project, sent to Kubernetes' API server: strict decoding, schemas, CEL rules."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from pathcast.training.job_objects import JobRequest, tf_job, train_job
from tests.apiserver.server import Json, Server
from tests.manifests.objects import DEPLOYMENTS, kustomizations, name_of, parse, render, values_files
from tests.manifests.tools import kubectl
from tests.manifests.worlds import WORLDS, world

pytestmark = pytest.mark.timeout(3600)


def create(server: Server, resource: Json) -> tuple[int, str]:
    """What the server says to the object, which it does not keep."""
    place = server.place(resource["apiVersion"], resource["kind"], resource["metadata"].get("namespace", "pathcast"))
    status, answer = server.ask("POST", f"{place}?dryRun=All&fieldValidation=Strict", resource)
    return status, str(answer.get("message", ""))


def refused(server: Server, objects: list[Json]) -> dict[str, tuple[int, str]]:
    answers = {name_of(item): create(server, item) for item in objects}
    # Namespaces are there already.
    return {what: said for what, said in answers.items() if said[0] != 201 and "already exists" not in said[1]}


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
def test_every_object_is_taken(server: Server, name: str) -> None:
    objects = list(world(name))
    assert refused(server, objects) == {}
    print(f"\n{name}: {len(objects)} objects taken, of {len({item['kind'] for item in objects})} kinds")


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_every_object_of_the_chart_is_taken(server: Server, values: Path) -> None:
    objects = parse(render([values]))
    assert refused(server, objects) == {}
    print(f"\n{values.stem}: {len(objects)} objects taken")


@pytest.mark.parametrize("folder", kustomizations(), ids=lambda path: str(path.relative_to(DEPLOYMENTS)))
def test_kubectl_applies_every_folder(access: Path, folder: Path) -> None:
    command = [str(kubectl()), "apply", "--dry-run=server", "--validate=strict", "-k", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "KUBECONFIG": str(access)}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines
    assert all(line.endswith("(server dry run)") for line in lines)


@pytest.mark.parametrize("build", [tf_job, train_job])
@pytest.mark.parametrize("gpus", [0, 2])
def test_the_jobs_of_pipelines_are_taken(server: Server, build, gpus: int) -> None:
    assert create(server, build(request(gpus=gpus))) == (201, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nothing": 1}, "unknown field"),
        ({"managedBy": "me"}, "ManagedBy must be"),
        ({"activeDeadlineSeconds": "soon"}, "activeDeadlineSeconds"),
    ],
)
def test_the_server_does_look_at_custom_resources(server: Server, change: Json, message: str) -> None:
    job = json.loads(json.dumps(train_job(request())))
    status, said = create(server, {**job, "spec": {**job["spec"], **change}})
    assert status in (400, 422)
    assert message in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nothing": 1}, 'unknown field "spec.nothing"'),
        ({"replicas": "3"}, "replicas"),
        ({"selector": {"matchLabels": {"app": "other"}}}, "selector"),
    ],
)
def test_the_server_does_look_at_built_in_kinds(server: Server, change: Json, message: str) -> None:
    found = next(item for item in world("cpu") if item["kind"] == "StatefulSet")
    status, said = create(server, {**found, "spec": {**found["spec"], **change}})
    assert status in (400, 422)
    assert message in said
