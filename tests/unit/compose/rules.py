"""A compose file after its variables are filled in: the specification, and what this project wants beyond it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from compose_spec import PyCompose

_VARIABLE = re.compile(r"\$\$|\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}|\$")
_SECRET = re.compile(r"PASSWORD|SECRET|KEY_|TOKEN")
_NUMERIC_USER = re.compile(r"[1-9]\d*:[1-9]\d*")
_LOOPBACK_PORT = re.compile(r"127\.0\.0\.1:\d+:\d+")
NOT_SECRET = {"not-used"}

Document = dict[str, Any]


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Compose's `${NAME:?why}`, `${NAME:-default}` and `$$` filled in; KeyError where a value is missing."""
    if isinstance(value, dict):
        return {key: interpolate(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, variables) for inner in value]
    return _VARIABLE.sub(lambda match: _filled(match, variables), value) if isinstance(value, str) else value


def _filled(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    if match[1] is None:
        raise KeyError(f"a lone $ in {match.string!r}")
    found = variables.get(match[1])
    if found or match[2] is None:
        return found or ""
    if match[2] == "?":
        raise KeyError(match[1])
    return str(match[3])


def problems(raw: Document, variables: Mapping[str, str], folder: Path) -> list[str]:
    """What is wrong with a compose file whose relative paths start at `folder`."""
    try:
        document = interpolate(raw, variables)
        PyCompose.from_yaml(yaml.safe_dump(document))
    except (KeyError, ValueError, TypeError) as error:
        return [f"not a compose file: {error}"]
    services: dict[str, Document] = document["services"]
    found = []
    for name, service in services.items():
        parts = (
            *_hardening(service),
            *_surroundings(service, document, folder),
            *_dependencies(service, services),
            *_secrets(raw["services"][name]),
        )
        found += [f"{name}: {problem}" for problem in parts]
    if not document["networks"]["platform"].get("internal"):
        found.append("the network platform is not internal")
    return found


def _hardening(service: Document) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield "the root is not read-only"
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield "capabilities are not dropped"
    if service.get("security_opt") != ["no-new-privileges:true"]:
        yield "new privileges can be had"
    if not _NUMERIC_USER.fullmatch(str(service.get("user"))):
        yield "expected a numeric user and group other than root"
    if service.get("privileged") or service.get("pid") or service.get("network_mode") or service.get("devices"):
        yield "shares the machine's own namespaces or devices"
    _, _, tag = str(service["image"]).rpartition("/")[2].partition(":")
    if tag in ("", "latest"):
        yield "the image has no version"


def _surroundings(service: Document, document: Document, folder: Path) -> Iterator[str]:
    for port in service.get("ports", ()):
        if not _LOOPBACK_PORT.fullmatch(str(port)):
            yield f"port {port} is not on loopback"
        if "loopback" not in service["networks"]:
            yield f"port {port} is published from a network without a way out"
    if "platform" not in service.get("networks", ()):
        yield "is not in the platform's network"
    for network in set(service.get("networks", ())) - document["networks"].keys():
        yield f"network {network} is not defined"
    for volume in service.get("volumes", ()):
        source, _, rest = str(volume).partition(":")
        if source.startswith("../"):
            if not (folder / source).exists() or not rest.endswith(":ro"):
                yield f"{source} is not there, or not read-only"
        elif not source.startswith("./data/") and source not in document.get("volumes", {}):
            yield f"volume {source} is not defined"


def _dependencies(service: Document, services: Mapping[str, Document]) -> Iterator[str]:
    if service.get("restart") not in ("unless-stopped", "on-failure"):
        yield "is not started again"
    for name, condition in service.get("depends_on", {}).items():
        other = services.get(name)
        if other is None:
            yield f"depends on {name}, which is not there"
        elif condition["condition"] == "service_healthy" and "test" not in other.get("healthcheck", {}):
            yield f"waits for the health of {name}, which has no check"
        elif condition["condition"] == "service_completed_successfully" and other["restart"] != "on-failure":
            yield f"waits for the end of {name}, which does not end"


def _secrets(raw: Document) -> Iterator[str]:
    """Looks at the file as it is: a secret is a variable without a default."""
    for name, value in raw.get("environment", {}).items():
        if _SECRET.search(name) and value not in NOT_SECRET and not name.endswith("ACCESS_KEY_ID"):
            if name == "PATHCAST_S3_ACCESS_KEY":
                continue
            if not re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", str(value)):
                yield f"{name} is not a variable that must be set"
        if re.search(r"://[^/]*:[^/]*@", str(value)):
            yield f"{name} holds a password in an address"
