"""What there is to refer to: the checked objects, what operators make of them, and what is declared to exist."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.manifests.objects import Json, PodView, at, name_of, pods

_EXTERNAL = Path(__file__).with_name("external.toml")

ANY_KEY = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in an object that a server or a cluster would not take, or would not do what it says."""

    resource: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.resource} {self.path}: {self.message}"


Finding = tuple[str, str]
"""Where in an object, and what is wrong there."""


def external() -> Json:
    """What the manifests refer to and do not make themselves, by kind: see external.toml."""
    return tomllib.loads(_EXTERNAL.read_text())


class Landscape:
    """An index over objects of one cluster. `around` are objects that exist but are not what is checked."""

    def __init__(self, checked: Iterable[Json], around: Iterable[Json] = ()) -> None:
        self.checked = list(checked)
        self.all = [*self.checked, *around]

    def of_kind(self, *kinds: str) -> Iterator[Json]:
        return (item for item in self.all if item.get("kind") in kinds)

    @cached_property
    def pods(self) -> list[PodView]:
        """Every pod of every object, those included that operators make."""
        runtimes = list(self.of_kind("ServingRuntime"))
        made = [pod for item in self.all for pod in pods(item, runtimes)]
        return [*made, *self._operators_pods()]

    @cached_property
    def names(self) -> set[tuple[str, str]]:
        """(kind, name) of everything that exists."""
        found = {(str(item.get("kind")), str(at(item, "metadata", "name"))) for item in self.all}
        found |= {(kind, str(name)) for kind, entries in external().items() for name in entries}
        for service in self.of_kind("InferenceService"):
            found.add(("Deployment", f"{at(service, 'metadata', 'name')}-predictor"))
            found.add(("Service", f"{at(service, 'metadata', 'name')}-predictor"))
        for cluster in self.of_kind("Kafka"):
            found.add(("Service", f"{at(cluster, 'metadata', 'name')}-kafka-bootstrap"))
        return found

    @cached_property
    def keys(self) -> dict[tuple[str, str], set[str]]:
        """The keys of each ConfigMap and Secret."""
        found: dict[tuple[str, str], set[str]] = {}
        for item in self.of_kind("ConfigMap", "Secret"):
            data = {*(item.get("data") or {}), *(item.get("binaryData") or {}), *(item.get("stringData") or {})}
            found[str(item["kind"]), str(at(item, "metadata", "name"))] = {str(key) for key in data}
        for kind in ("ConfigMap", "Secret"):
            for name, keys in external().get(kind, {}).items():
                found[kind, name] = set(keys)
        for user in self.of_kind("KafkaUser"):
            found["Secret", str(at(user, "metadata", "name"))] = {"password", "sasl.jaas.config"}
        for cluster in self.of_kind("Kafka"):
            found["Secret", f"{at(cluster, 'metadata', 'name')}-cluster-ca-cert"] = {"ca.crt", "ca.p12", "ca.password"}
        return found

    def selected(self, selector: object) -> list[PodView]:
        """The pods whose labels a label selector takes."""
        return [pod for pod in self.pods if pod.labels is not None and takes(selector, pod.labels)]

    def bound(self, account: str) -> bool:
        """Whether a service account holds any right."""
        bindings = self.of_kind("RoleBinding", "ClusterRoleBinding")
        return any(at(subject, "name") == account for item in bindings for subject in item.get("subjects") or ())

    def _operators_pods(self) -> Iterator[PodView]:
        for cluster in self.of_kind("Kafka"):
            name = at(cluster, "metadata", "name")
            listeners = at(cluster, "spec", "kafka", "listeners") or ()
            ports = [{"name": f"tcp-{at(item, 'name')}", "containerPort": at(item, "port")} for item in listeners]
            if at(cluster, "spec", "kafka", "metricsConfig"):
                ports.append({"name": "tcp-prometheus", "containerPort": 9404})
            for component in ("kafka", "entity-operator"):
                labels = {"strimzi.io/cluster": name, "strimzi.io/name": f"{name}-{component}"}
                yield PodView(cluster, "spec", labels, {"containers": [{"name": "kafka", "ports": ports}]}, False)
        for pool in self.of_kind("KafkaNodePool"):
            labels = dict(at(pool, "metadata", "labels") or {})
            labels |= {"strimzi.io/pool-name": at(pool, "metadata", "name")}
            yield PodView(pool, "spec", labels, {"containers": []}, False)
        for entry in external().get("Pod", {}).values():
            yield PodView({"kind": "Pod"}, "", dict(entry), {"containers": []}, False)


def takes(selector: object, labels: Json) -> bool:
    """Whether a label selector (or a plain mapping of labels) takes an object with these labels."""
    if not isinstance(selector, dict):
        return False
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return all(labels.get(key) == value for key, value in selector.items())
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(expression, labels) for expression in selector.get("matchExpressions") or ())


def _meets(expression: object, labels: Json) -> bool:
    key, operator = at(expression, "key"), at(expression, "operator")
    values = at(expression, "values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")


def faults_of(resource: Json, *found: tuple[str, str]) -> Iterator[Fault]:
    """Faults of one object from pairs of path and message."""
    return (Fault(name_of(resource), path, message) for path, message in found)


Check = Callable[[Json, Landscape], Iterator[Finding]]
"""What looks at an object among the others."""
