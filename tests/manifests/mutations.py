"""Corruptions of one field of one object, as a slip of the hand would make them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.manifests.objects import Json, name_of

Path = tuple[str | int, ...]

# Mappings with keys of the user's choice: another key there is no fault.
_OPEN = {"annotations", "config", "data", "labels", "limits", "matchLabels", "nodeSelector", "parameters", "requests"}
_ENUMERATED = {
    "accessModes", "apiVersion", "behavior", "cleanPodPolicy", "concurrencyPolicy", "drop", "effect",
    "fsGroupChangePolicy", "imagePullPolicy", "kind", "medium", "metricType", "operations", "operator", "patternType",
    "podManagementPolicy", "policyTypes", "protocol", "protocolVersion", "restartPolicy", "roles", "scaleMetric",
    "serverType", "severity", "type", "verbs", "whenUnsatisfiable",
}  # fmt: skip
_REFERENCE_ENDS: tuple[tuple[str, ...], ...] = (
    ("secretKeyRef", "name"), ("secretKeyRef", "key"), ("secret", "secretName"), ("configMap", "name"),
    ("persistentVolumeClaim", "claimName"), ("volumeMounts", "*", "name"), ("volumes", "*", "name"),
    ("serviceAccountName",), ("roleRef", "name"), ("subjects", "*", "name"), ("targetPort",), ("httpGet", "port"),
    ("scaleTargetRef", "name"), ("runtimeRef", "name"), ("model", "runtime"), ("serviceName",),
    ("labels", "strimzi.io/cluster"), ("resource", "name"), ("endpoints", "*", "port"), ("metadata", "namespace"),
    ("matchLabels", "*"), ("spec", "selector", "*"), ("template", "metadata", "labels", "app.kubernetes.io/name"),
    ("kubernetes.io/metadata.name",), ("modelFormat", "name"), ("storage", "key"), ("fieldRef", "fieldPath"),
)  # fmt: skip
_AMOUNT_ENDS: tuple[tuple[str, ...], ...] = (
    ("containerPort",), ("ports", "*", "port"), ("requests", "*"), ("limits", "*"), ("sizeLimit",), ("size",),
    ("schedule",), ("interval",), ("trafficPercent",), ("minReplicaCount",), ("replicas",), ("for",),
    ("runAsUser",), ("runAsNonRoot",), ("readOnlyRootFilesystem",), ("allowPrivilegeEscalation",), ("periodSeconds",),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutation:
    """One corruption: `changed` is the object with it."""

    kind: str
    original: Json
    path: Path
    changed: Json
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {name_of(self.original)} {'.'.join(map(str, self.path))}: {self.what}"


def mutations(resources: Sequence[Json], of_each_kind: int, seed: int) -> Iterator[Mutation]:
    """`of_each_kind` corruptions of every kind, at places chosen evenly over all objects."""
    chance = random.Random(seed)  # noqa: S311
    for kind, (places, corrupt) in KINDS.items():
        found = [(resource, path) for resource in resources for path in places(resource)]
        for resource, path in chance.sample(found, min(of_each_kind, len(found))):
            changed = copy.deepcopy(resource)
            what = corrupt(_parent(changed, path), path[-1], chance)
            yield Mutation(kind, resource, path, changed, what)


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _mappings(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        if value and not _OPEN & set(map(str, path[-1:])):
            yield from ((*path, key) for key in value)
        for key, item in value.items():
            yield from _mappings(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mappings(item, (*path, index))


def _ends(path: Path, ends: tuple[tuple[str, ...], ...]) -> bool:
    return any(
        len(path) >= len(end)
        and all(want in ("*", str(have)) for want, have in zip(end, path[-len(end) :], strict=True))
        for end in ends
    )


def _any_field(resource: Json) -> Iterator[Path]:
    return (path for path, _ in _leaves(resource))


def _enumerated(resource: Json) -> Iterator[Path]:
    for path, value in _leaves(resource):
        keys = [part for part in path if isinstance(part, str)]
        if isinstance(value, str) and keys[-1] in _ENUMERATED and not _OPEN & set(keys):
            yield path


def _references(resource: Json) -> Iterator[Path]:
    return (path for path, value in _leaves(resource) if isinstance(value, str) and _ends(path, _REFERENCE_ENDS))


def _amounts(resource: Json) -> Iterator[Path]:
    return (path for path, _ in _leaves(resource) if _ends(path, _AMOUNT_ENDS))


def _parent(value: Any, path: Path) -> Any:
    for part in path[:-1]:
        value = value[part]
    return value


def _wrong_type(parent: Any, key: Any, chance: random.Random) -> str:
    old = parent[key]
    choices: list[Any] = [{"wrong": "type"}, ["wrong type"]]
    if isinstance(old, bool | int | float):
        choices.append("several")
    parent[key] = chance.choice(choices)
    return f"{old!r} became {parent[key]!r}"


def _misspelt(parent: Any, key: Any, chance: random.Random) -> str:
    at = chance.randrange(len(key))
    wrong = f"{key[:at]}x{key[at:]}"
    parent[wrong] = parent.pop(key)
    return f"written {wrong}"


def _unknown_field(parent: Any, key: Any, chance: random.Random) -> str:
    name = chance.choice(["extra", "hostname2", "enable", "optionsMap"])
    parent[name] = chance.choice([True, 1, "yes", {"a": "b"}])
    return f"{name} beside it"


def _bad_enum(parent: Any, key: Any, chance: random.Random) -> str:
    old = parent[key]
    parent[key] = chance.choice([f"{old}s", old.swapcase(), "Sometimes"])
    return f"{old!r} became {parent[key]!r}"


def _broken_reference(parent: Any, key: Any, chance: random.Random) -> str:
    old = parent[key]
    parent[key] = chance.choice([f"{old}-gone", f"x{old}", f"{old}2"])
    return f"{old!r} became {parent[key]!r}"


def _bad_amount(parent: Any, key: Any, chance: random.Random) -> str:
    old = parent[key]
    if isinstance(old, bool):
        parent[key] = not old
    elif isinstance(old, int):
        parent[key] = chance.choice([0, -1]) if key in ("containerPort", "port", "runAsUser", "periodSeconds") else -1
    else:
        parent[key] = chance.choice([f"{old}x", f"-{old}", f"{old} {old}"])
    return f"{old!r} became {parent[key]!r}"


Places = Callable[[Json], Iterator[Path]]
Corrupt = Callable[[Any, Any, random.Random], str]
KINDS: dict[str, tuple[Places, Corrupt]] = {
    "wrong type": (_any_field, _wrong_type),
    "misspelt field": (_mappings, _misspelt),
    "unknown field": (_mappings, _unknown_field),
    "bad enum": (_enumerated, _bad_enum),
    "broken reference": (_references, _broken_reference),
    "bad amount or right": (_amounts, _bad_amount),
}
