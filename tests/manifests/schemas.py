"""Strict schemas of built-in kinds and custom resources: a field that is not declared is a fault.

Built-in kinds are held against Kubernetes' published OpenAPI schemas, custom resources against the CRDs beside
PATHCAST_DATA. An explicit null is dropped before the check, as a server does. CEL rules are not evaluated.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from tests.manifests.tools import kubernetes_definitions, tools_dir

Json = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_KATIB = Path(__file__).with_name("katib.yaml")
POD_TEMPLATE = "io.k8s.api.core.v1.PodTemplateSpec"
POD_SPEC = "io.k8s.api.core.v1.PodSpec"
CONTAINER = "io.k8s.api.core.v1.Container"


def crds_dir() -> Path:
    """The custom resource definitions, beside the data folder."""
    data = Path(os.environ.get("PATHCAST_DATA", "../shared/data"))
    return data.parent / "crds"


def without_nulls(value: Any) -> Any:
    """`value` less the fields that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def schema_faults(resource: Json) -> Iterator[tuple[str, str]]:
    """(path, message) of each way in which `resource` is not what its kind declares."""
    kind = (str(resource.get("apiVersion")), str(resource.get("kind")))
    validator = _validators().get(kind)
    if validator is None:
        yield "kind", f"unknown kind {kind[0]} {kind[1]}"
        return
    yield from _faults(validator, resource)


def definition_faults(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The same for a part of an object, such as a container, by the name of its definition."""
    yield from _faults(_definition_validator(name), value)


def _faults(validator: Validator, value: Any) -> Iterator[tuple[str, str]]:
    for error in validator.iter_errors(without_nulls(value)):
        leaf = _deepest(error)
        yield ".".join(str(part) for part in leaf.absolute_path), leaf.message[:300]


def _deepest(error: ValidationError) -> ValidationError:
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return error


@cache
def _definitions() -> Json:
    return json.loads(kubernetes_definitions().read_bytes())["$defs"]


@cache
def _definition_validator(name: str) -> Validator:
    return Draft202012Validator(_inline(name))


@cache
def _validators() -> Mapping[tuple[str, str], Validator]:
    found: dict[tuple[str, str], Validator] = {}
    for name, schema in _definitions().items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            if "metadata" in schema.get("properties", ()):
                found[version, gvk["kind"]] = _Lazy(name)  # type: ignore[assignment]
    for (version, kind), schema in _custom_schemas().items():
        found[version, kind] = Draft202012Validator(schema)
    return found


@cache
def resources() -> frozenset[tuple[str, str]]:
    """(group, resource) of what a role may name: custom resources, and those of Kubernetes that we have use for."""
    crds = {(spec["group"], spec["names"]["plural"]) for spec in _crd_specs()}
    own = {(group, name) for group, names in _OTHER_RESOURCES.items() for name in names}
    return frozenset(crds | own)


_OTHER_RESOURCES = {
    "": (
        *("configmaps", "events", "persistentvolumeclaims", "pods", "pods/log"),
        *("secrets", "serviceaccounts", "services"),
    ),
    "apps": ("deployments", "replicasets", "statefulsets"),
    "argoproj.io": ("workflowtaskresults",),
    "batch": ("cronjobs", "jobs"),
    "networking.k8s.io": ("networkpolicies",),
    "policy": ("poddisruptionbudgets",),
    "rbac.authorization.k8s.io": ("rolebindings", "roles"),
}


class _Lazy:
    """A built-in kind's validator, made when it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def iter_errors(self, value: Any) -> Iterator[ValidationError]:
        return _definition_validator(self._name).iter_errors(value)


@cache
def _inline(name: str) -> Json:
    """A definition with its references replaced; recursive ones (JSON schemas in CRDs) are left open."""
    return _resolved(_definitions()[name], (name,))


def _resolved(schema: Any, above: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_resolved(item, above) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {} if name in above else _resolved_definition(name, above)
    kept = {key: _resolved(item, above) for key, item in schema.items() if key not in ("description", "default")}
    if kept.get("type") == ["object", "null"] and "properties" in kept:
        kept.setdefault("additionalProperties", False)
    return kept


def _resolved_definition(name: str, above: tuple[str, ...]) -> Any:
    return _resolved(_definitions()[name], (*above, name))


@cache
def _custom_schemas() -> dict[tuple[str, str], Json]:
    """Strict schemas of the CRDs."""
    schemas: dict[tuple[str, str], Json] = {}
    for spec in _crd_specs():
        for version in spec["versions"]:
            schema = _strict(version.get("schema", {}).get("openAPIV3Schema", {}))
            if "properties" in schema:
                schema["properties"] |= {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": _inline(_META),
                }
                schema["required"] = sorted({*schema.get("required", ()), "metadata", "spec"})
            schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    experiment = _strict(yaml.safe_load(_KATIB.read_text()))
    experiment["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": _inline(_META),
    }
    schemas["kubeflow.org/v1beta1", "Experiment"] = experiment
    return schemas


@cache
def _crd_specs() -> list[Json]:
    """The CRDs; parsing their YAML takes seconds, so the result is kept as JSON."""
    files = sorted(crds_dir().glob("*/*.yaml"))
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    kept = tools_dir() / f"crds-{stamp}.json"
    if not kept.exists():
        parsed = [yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) for file in files]  # noqa: S506
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps([item for item in parsed if item]))
        fresh.rename(kept)
    return [crd["spec"] for crd in json.loads(kept.read_bytes())]


def _strict(schema: Json) -> Json:
    """The schema as a strict decoder reads it: objects are closed unless they are declared open."""
    kept: Json = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _strict(item) for name, item in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            kept[key] = _strict(value)
        elif key in ("anyOf", "oneOf", "allOf"):
            kept[key] = [_strict_branch(item) for item in value]
        elif key not in ("description", "default", "format"):
            kept[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
        kept["type"] = ["integer", "string"]
        if "pattern" in kept:
            kept["pattern"] = schema["pattern"]
    open_object = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and not open_object:
        kept["additionalProperties"] = False
    return kept


def _strict_branch(schema: Json) -> Json:
    """A branch of a choice adds conditions; what fields there are is said outside it."""
    return {key: value for key, value in schema.items() if key not in ("description", "default", "format")}
