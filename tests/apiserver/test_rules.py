"""Built-in kinds under Kubernetes' own validation, which is in none of the libraries: see rules/main.go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import cache

import pytest

from tests.apiserver.programs import programs
from tests.manifests.checker import faults_of_change
from tests.manifests.mutations import mutations
from tests.manifests.objects import CHART, NAMESPACE, Json, at, name_of, parse, pods, render, values_files
from tests.manifests.test_mutations import OF_EACH_KIND, SEED
from tests.manifests.worlds import WORLDS, world

pytestmark = pytest.mark.timeout(3600)

# Where the rules have these kinds; the fields are the same.
_EARLIER = {
    ("policy/v1", "PodDisruptionBudget"): "policy/v1beta1",
    ("batch/v1", "CronJob"): "batch/v1beta1",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "autoscaling/v2beta2",
}
_GROUPS = ("apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io")
CHANGES = ("image.tag=9.9.9", "logLevel=DEBUG", "analyzer.replicas=3", "podLabels.release=next")


def earlier(resource: Json) -> Json | None:
    """The object as the rules know it; None where it is not built in."""
    version, kind = resource["apiVersion"], resource["kind"]
    if "/" in version and version.partition("/")[0] not in _GROUPS:
        return None
    metadata = {"namespace": NAMESPACE, **resource["metadata"]}
    if kind in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
        del metadata["namespace"]
    return {**resource, "apiVersion": _EARLIER.get((version, kind), version), "metadata": metadata}


def faults(questions: Sequence[Json]) -> list[list[str]]:
    """What Kubernetes says to each `{"new": object}`, or to its change from `{"old": object}`."""
    lines = "".join(f"{json.dumps(question)}\n" for question in questions)
    done = subprocess.run([str(programs() / "rules")], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def judged(objects: Sequence[Json], before: Sequence[Json] = ()) -> dict[str, list[str]]:
    """Faults by name, of the built-in kinds among the objects."""
    old = {name_of(item): item for item in before}
    known = [found for item in objects if (found := earlier(item)) is not None]
    questions = [
        {"new": item, **({"old": earlier(old[name_of(item)])} if name_of(item) in old else {})} for item in known
    ]
    assert known
    return {name_of(item): found for item, found in zip(known, faults(questions), strict=True)}


def amiss(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: said for name, said in found.items() if said}


@cache
def chart(values: str, *settings: str) -> tuple[Json, ...]:
    return tuple(parse(render([CHART.parents[1] / values], settings)))


@pytest.mark.parametrize("name", WORLDS)
def test_objects_are_as_kubernetes_has_them(name: str) -> None:
    found = judged(world(name))
    assert amiss(found) == {}
    print(f"\n{name}: {len(found)} objects of built-in kinds")


def templates(objects: Sequence[Json]) -> list[Json]:
    """The pods of custom resources and StatefulSets, which nobody looks at before one is made."""
    runtimes = [item for item in objects if item["kind"] == "ServingRuntime"]
    found = []
    for item in objects:
        if earlier(item) is not None and item["kind"] != "StatefulSet":
            continue
        claims = [
            {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
            for claim in at(item, "spec", "volumeClaimTemplates") or ()
        ]
        for number, pod in enumerate(pods(item, runtimes)):
            containers = [_without_grpc(container) for container in pod.spec["containers"]]
            volumes = [*(pod.spec.get("volumes") or ()), *claims]
            spec = {**pod.spec, "restartPolicy": "Always", "containers": containers, "volumes": volumes}
            found.append(
                {
                    "apiVersion": "v1",
                    "kind": "PodTemplate",
                    "metadata": {"name": f"{item['kind'].lower()}-{item['metadata']['name']}-{number}"},
                    "template": {"metadata": {"labels": pod.labels or {}}, "spec": spec},
                }
            )
    return found


def _without_grpc(container: Json) -> Json:
    """The rules know no probe by gRPC; one by TCP stands in for it."""
    probes = {name: probe for name, probe in container.items() if name.endswith("Probe") and "grpc" in probe}
    return {
        **container,
        **{
            name: {**{key: value for key, value in probe.items() if key != "grpc"}, "tcpSocket": probe["grpc"]}
            for name, probe in probes.items()
        },
    }


@pytest.mark.parametrize("name", WORLDS)
def test_pods_are_as_kubernetes_has_them(name: str) -> None:
    found = judged(templates(world(name)))
    assert amiss(found) == {}
    print(f"\n{name}: {len(found)} pods of StatefulSets and custom resources")


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_an_upgrade_changes_nothing_that_cannot_change(values) -> None:
    path = str(values.relative_to(CHART.parents[1]))
    # Jobs are made anew by each upgrade.
    before = [item for item in chart(path) if item["kind"] not in ("Job", "Pod")]
    after = [item for item in chart(path, *CHANGES) if item["kind"] not in ("Job", "Pod")]
    assert before != after
    assert amiss(judged(after, before)) == {}


def _stateful_set() -> Json:
    return next(item for item in world("cpu") if item["kind"] == "StatefulSet")


@pytest.mark.parametrize("name", ["gpu", "cpu"])
def test_what_kubernetes_refuses_our_own_checks_have_caught(name: str) -> None:
    """Of hundreds of corruptions of one field; the checks of every run are to be no more lenient than a server."""
    objects = world(name)
    looked_at, refused, missed = 0, 0, []
    for mutation in mutations(objects, OF_EACH_KIND, SEED):
        others = [item for item in objects if item is not mutation.original]
        runtimes = [item for item in others if item["kind"] == "ServingRuntime"]
        try:
            known = [earlier(item) for item in (mutation.changed, *templates([mutation.changed, *runtimes]))]
        except (AttributeError, KeyError, TypeError):
            # What the corruption left is no object any more.
            continue
        looked_at += 1
        if any(faults([{"new": item} for item in known if item is not None])):
            refused += 1
            if not any(True for _ in faults_of_change(mutation.changed, others)):
                missed.append(str(mutation))
    print(f"\n{name}: of {looked_at} corruptions Kubernetes' own code refuses {refused}")
    assert refused > looked_at // 4
    assert missed == []


def changed(resource: Json, path: Sequence[str | int], value: object) -> Json:
    made = json.loads(json.dumps(resource))
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "selector", "matchLabels"), {"app": "other"}, "selector"),
        (("spec", "updateStrategy"), {"type": "Sometimes"}, "spec.updateStrategy"),
        (("metadata", "name"), "Under_Score", "metadata.name"),
    ],
)
def test_kubernetes_does_look(path: tuple, value: object, message: str) -> None:
    ((_, said),) = judged([changed(_stateful_set(), path, value)]).items()
    assert message in said[0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ports", [{"containerPort": 70000}], "between 1 and 65535"),
        ("resources", {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, "cpu limit"),
        ("volumeMounts", [{"name": "no", "mountPath": "/no"}], "Not found"),
    ],
)
def test_kubernetes_does_look_at_pods(field: str, value: object, message: str) -> None:
    (template,) = templates([_stateful_set()])
    ((_, said),) = judged([changed(template, ("template", "spec", "containers", 0, field), value)]).items()
    assert message in said[0]


def test_kubernetes_does_look_at_changes() -> None:
    before = _stateful_set()
    after = {**before, "spec": {**before["spec"], "serviceName": "other"}}
    ((_, said),) = judged([after], [before]).items()
    assert "are forbidden" in said[0]
