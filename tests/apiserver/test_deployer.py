"""The account that deploys holds the rights that helm needs for it, and no other."""

from __future__ import annotations

import itertools

import pytest

from deployments.release import rollback_command, smoke_command
from tests.apiserver.controllers import controllers
from tests.apiserver.server import Server
from tests.apiserver.test_helm import CHANGES, PATIENTLY, WHERE, Helm, client  # noqa: F401
from tests.manifests.objects import CHART, RELEASE
from tests.manifests.worlds import built, rendered

pytestmark = pytest.mark.timeout(3600)

Right = tuple[str, str, str]
"""Group, resource, verb."""


def rights(role: dict) -> set[Right]:
    rules = ((rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role["rules"])
    return {right for rule in rules for right in itertools.product(*rule)}


def used(server: Server) -> set[Right]:
    asked = [
        entry["objectRef"] | {"verb": entry["verb"]} for entry in server.requests_of("Helm/") if "objectRef" in entry
    ]
    return {
        (item.get("apiGroup", ""), "/".join(filter(None, (item["resource"], item.get("subresource")))), item["verb"])
        for item in asked
    }


# kubectl's library, where the server's OpenAPI lacks a custom kind as this one's does; it goes on without an answer.
ASIDE = {("apiextensions.k8s.io", "customresourcedefinitions", "list")}
CAMERAS = CHART / "ci" / "gpu.yaml"


def test_helm_needs_what_the_deployer_may_and_nothing_else(server: Server, client: Helm) -> None:  # noqa: F811
    deploy = ("upgrade", RELEASE, str(CHART), "--install", *WHERE, "--values", str(CAMERAS), *PATIENTLY)
    with controllers(server):
        client(*deploy)
        client(*deploy, *CHANGES)
        client(*rollback_command(client.history(), WHERE)[1:])
        client.try_out(*smoke_command({})[1:])
        client("uninstall", RELEASE, *WHERE, *PATIENTLY)
    (role,) = [item for item in built("deployer") if item["kind"] == "Role"]
    (given,) = [item for item in rendered(CAMERAS) if item["kind"] == "Role"]
    needed, held = used(server) - ASIDE, rights(role)
    print(f"\nhelm used {len(needed)} rights, the deployer holds {len(held)}")
    assert needed <= held
    # Objects that are patched into being are created; a server that cannot send a list by a watch is asked for it.
    spare = {(group, resource, verb) for group, resource, _ in needed for verb in ("create", "get", "list")}
    assert held <= needed | spare | rights(given)
