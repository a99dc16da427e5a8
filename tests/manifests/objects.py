"""The objects to check: read from files, kustomizations and charts; and the pods in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.manifests.tools import helm, kubectl

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = ROOT / "deployments"
CHART = ROOT / "helm" / "pathcast"
RELEASE, NAMESPACE = "pathcast", "pathcast"
_LIMIT_S = 60


class StrictLoader(yaml.CSafeLoader):
    """YAML in which a key that stands twice in a mapping is an error, as a server's strict decoder has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"duplicate keys {twice} {node.start_mark}")
        return super().construct_mapping(node, deep)


StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node, deep=True)
)


def parse(text: str) -> list[Json]:
    """All objects of a YAML stream; empty documents are left out."""
    return [item for item in yaml.load_all(text, Loader=StrictLoader) if item]  # noqa: S506


def kustomizations() -> list[Path]:
    """Every folder of `deployments/` that `kubectl apply -k` takes, in order; components are taken by others."""
    return [
        path.parent
        for path in sorted(DEPLOYMENTS.rglob("kustomization.yaml"))
        if parse(path.read_text())[0]["kind"] == "Kustomization"
    ]


def build(folder: Path) -> list[Json]:
    """The objects that `kubectl apply -k folder` would send."""
    return parse(_run([str(kubectl()), "kustomize", str(folder)]))


def values_files() -> list[Path]:
    """Every set of values that the chart is shipped with; the first is the default."""
    sites = (DEPLOYMENTS / "environments").glob("*.yaml")
    return [CHART / "values.yaml", *sorted((CHART / "ci").glob("*.yaml")), *sorted(sites)]


def render(values: Sequence[Path] = (), settings: Sequence[str] = ()) -> str:
    """What `helm install` would send, hooks included, as YAML."""
    flags = [flag for path in values for flag in ("--values", str(path))]
    flags += [flag for setting in settings for flag in ("--set", setting)]
    return _run([str(helm()), "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *flags])


def lint(values: Path) -> None:
    """Raises CalledProcessError where `helm lint --strict` finds something."""
    _run([str(helm()), "lint", str(CHART), "--strict", "--values", str(values), "--namespace", NAMESPACE])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, env={**os.environ, "HOME": "/tmp"})  # noqa: S108
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command[1:], done.stdout, f"{done.stdout}\n{done.stderr}")
    return done.stdout


def name_of(resource: Json) -> str:
    """`Kind/name`, as faults name an object."""
    return f"{resource.get('kind')}/{(resource.get('metadata') or {}).get('name')}"


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod as an object will make it. `labels` are None where a controller of another project sets them."""

    owner: Json
    path: str
    labels: Json | None
    spec: Json
    has_own_labels: bool = True
    extra: Json = field(default_factory=dict)

    @property
    def containers(self) -> list[Json]:
        named = [*(self.spec.get("initContainers") or ()), *(self.spec.get("containers") or ())]
        return [container for container in named if isinstance(container, dict)]


def at(value: Any, *path: str) -> Any:
    """The value under `path`, or None where any step of it is missing or no mapping."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


_TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


_MODE = ("metadata", "annotations", "serving.kserve.io/deploymentMode")


def pods(resource: Json, runtimes: Iterable[Json] = ()) -> Iterator[PodView]:
    """The pods that `resource` makes. `runtimes` are the ServingRuntimes that an InferenceService may name."""
    kind = resource.get("kind")
    if kind in _TEMPLATES:
        yield from _template(resource, ".".join(_TEMPLATES[kind]), at(resource, *_TEMPLATES[kind]))
    elif kind == "Pod":
        yield from _template(resource, "", resource)
    elif kind == "TFJob":
        for role, replica in (at(resource, "spec", "tfReplicaSpecs") or {}).items():
            yield from _template(resource, f"spec.tfReplicaSpecs.{role}.template", at(replica, "template"))
    elif kind == "Experiment":
        template = at(resource, "spec", "trialTemplate", "trialSpec", "spec", "template")
        yield from _template(resource, "spec.trialTemplate.trialSpec.spec.template", template)
    elif kind in ("ClusterTrainingRuntime", "TrainingRuntime"):
        for index, job in enumerate(at(resource, "spec", "template", "spec", "replicatedJobs") or ()):
            path = f"spec.template.spec.replicatedJobs.{index}.template.spec.template"
            yield from _template(resource, path, at(job, "template", "spec", "template"))
    elif kind == "ServingRuntime":
        spec = {key: at(resource, "spec", key) for key in ("containers", "volumes", "nodeSelector", "tolerations")}
        yield PodView(resource, "spec", at(resource, "spec", "labels") or {}, _without_none(spec))
    elif kind == "InferenceService" and at(resource, *_MODE) != "ModelMesh":
        by_name = {at(item, "metadata", "name"): item for item in runtimes}
        predictor = at(resource, "spec", "predictor") or {}
        yield _predictor(resource, "spec.predictor", predictor, by_name)
        for index, canary in enumerate(at(resource, "spec", "canary") or ()):
            over = at(canary, "predictor") or {}
            merged = {**predictor, **over, "model": {**(predictor.get("model") or {}), **(over.get("model") or {})}}
            yield _predictor(resource, f"spec.canary.{index}.predictor", merged, by_name)


def _template(owner: Json, path: str, template: Any) -> Iterator[PodView]:
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        yield PodView(owner, path, at(template, "metadata", "labels") or {}, template["spec"])


def _predictor(owner: Json, path: str, predictor: Json, runtimes: dict[Any, Json]) -> PodView:
    """The pod that KServe makes of a predictor and its runtime: the model's fields over the runtime's container."""
    runtime = at(runtimes.get(at(predictor, "model", "runtime")), "spec") or {}
    model = {key: value for key, value in (predictor.get("model") or {}).items() if key in _CONTAINER_FIELDS}
    containers = [dict(item) for item in runtime.get("containers") or ()]
    if containers:
        first = containers[0]
        containers[0] = {
            **first,
            **model,
            "env": _merged(first.get("env"), model.get("env")),
            "args": [*(first.get("args") or ()), *(model.get("args") or ())],
            "volumeMounts": [*(first.get("volumeMounts") or ()), *(model.get("volumeMounts") or ())],
            "name": first.get("name"),
        }
    spec = {key: value for key, value in predictor.items() if key in _POD_FIELDS} | {
        "containers": containers,
        "volumes": [*(runtime.get("volumes") or ()), *(predictor.get("volumes") or ())],
    }
    canary = f"-{predictor['name']}" if path.startswith("spec.canary") and "name" in predictor else ""
    labels = {
        **(runtime.get("labels") or {}),
        **(predictor.get("labels") or {}),
        "serving.kserve.io/inferenceservice": at(owner, "metadata", "name"),
        "app": f"isvc.{at(owner, 'metadata', 'name')}{canary}-predictor",
    }
    return PodView(owner, path, labels, spec)


_CONTAINER_FIELDS = frozenset(
    {"args", "command", "env", "envFrom", "image", "imagePullPolicy", "livenessProbe", "ports", "readinessProbe",
     "resources", "securityContext", "startupProbe", "volumeMounts", "workingDir"}
)  # fmt: skip
_POD_FIELDS = frozenset(
    {"affinity", "automountServiceAccountToken", "nodeSelector", "securityContext", "serviceAccountName",
     "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes", "priorityClassName"}
)  # fmt: skip


def _merged(base: Any, over: Any) -> list[Json]:
    named = {item["name"]: item for item in base or () if "name" in item}
    named |= {item["name"]: item for item in over or () if isinstance(item, dict) and "name" in item}
    return list(named.values())


def _without_none(mapping: Json) -> Json:
    return {key: value for key, value in mapping.items() if value is not None}
