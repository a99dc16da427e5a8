"""Who may connect to whom: NetworkPolicies as a network plugin enforces them, between all pods of a cluster."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.manifests.landscape import Landscape, takes
from tests.manifests.objects import NAMESPACE, Json, at

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Node:
    """A pod, or an address outside the cluster, that connects or is connected to. `ports`: numbers by name."""

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str | None = None


def nodes_of(landscape: Landscape) -> Iterator[Node]:
    """Every pod that the checked objects make, by a name that says what it is."""
    for pod in landscape.pods:
        namespace = at(pod.owner, "metadata", "namespace")
        if namespace is None or pod.labels is None or pod.owner["kind"] in ("KafkaNodePool", "ServingRuntime"):
            # A pool's pods are those of its Kafka, a runtime's those of its InferenceService.
            continue
        listed = [port for container in pod.containers for port in container.get("ports") or ()]
        ports = {port.get("name") or str(port["containerPort"]): port["containerPort"] for port in listed}
        if pod.owner["kind"] == "Kafka" and pod.labels["strimzi.io/name"].endswith("-kafka"):
            ports |= {"tcp-ctrlplane": 9090, "tcp-replication": 9091}
        elif pod.owner["kind"] == "Kafka":
            ports = {}
        yield Node(_called(pod.labels, namespace), namespace, pod.labels, ports)


def _called(labels: Mapping[str, str], namespace: str) -> str:
    if "strimzi.io/name" in labels:
        return labels["strimzi.io/name"].removeprefix("pathcast-")
    name = labels.get("app.kubernetes.io/component") or labels["app.kubernetes.io/name"]
    name = f"{name}-{labels['pathcast.io/role']}" if "pathcast.io/role" in labels else name
    return name if namespace == NAMESPACE else f"{namespace}/{name}"


def connections(policies: Iterable[Json], clients: Iterable[Node], servers: Iterable[Node]) -> dict[str, set[str]]:
    """For each client, by its name, what it may connect to, as `server:port`."""
    known, reached = list(policies), defaultdict(set)
    targets = list(servers)
    for client in clients:
        outward = [item for item in known if _applies(item, client, "Egress")]
        for server in targets:
            inward = [item for item in known if _applies(item, server, "Ingress")]
            for number in server.ports.values():
                if _allowed(outward, client, "egress", "to", server, server, number) and _allowed(
                    inward, server, "ingress", "from", client, server, number
                ):
                    reached[client.name].add(f"{server.name}:{number}")
    return dict(reached)


def _applies(policy: Json, node: Node, direction: str) -> bool:
    own = at(policy, "metadata", "namespace") == node.namespace and node.address is None
    selector = at(policy, "spec", "podSelector") or {}
    return own and direction in at(policy, "spec", "policyTypes") and takes(selector, dict(node.labels))


def _allowed(
    policies: list[Json], own: Node, direction: str, side: str, other: Node, server: Node, number: int
) -> bool:
    """Whether one of the policies on `own`'s side lets `other` through; no policy lets everybody through."""
    rules = [rule for policy in policies for rule in at(policy, "spec", direction) or ()]
    return not policies or any(
        (side not in rule or any(_is(peer, own, other) for peer in rule[side]))
        and ("ports" not in rule or any(_port(entry, server) == number for entry in rule["ports"]))
        for rule in rules
    )


def _is(peer: Json, own: Node, other: Node) -> bool:
    if "ipBlock" in peer:
        # A range of addresses is meant for what lies outside: pods have addresses that nobody knows before.
        inside = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return other.address is not None and ipaddress.ip_address(other.address) in inside
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    if other.address is not None:
        return False
    if namespaces is None and other.namespace != own.namespace:
        return False
    if namespaces is not None and not takes(namespaces, {_NAMESPACE_LABEL: other.namespace}):
        return False
    return pods is None or takes(pods, dict(other.labels))


def _port(entry: Json, server: Node) -> object:
    if entry.get("protocol", "TCP") != "TCP":
        return None
    return server.ports.get(entry["port"]) if isinstance(entry["port"], str) else entry["port"]


def strimzi_policies(landscape: Landscape) -> Iterator[Json]:
    """What Strimzi makes itself of a Kafka: its own pods among each other, metrics for all, listeners as they say."""
    for cluster in landscape.of_kind("Kafka"):
        name, namespace = at(cluster, "metadata", "name"), at(cluster, "metadata", "namespace")
        brokers, operator = ({"strimzi.io/name": f"{name}-{part}"} for part in ("kafka", "entity-operator"))
        own = [{"podSelector": {"matchLabels": brokers}}]
        rules: list[Json] = [
            {"from": own, "ports": [{"port": 9090}]},
            {"from": [*own, {"podSelector": {"matchLabels": operator}}], "ports": [{"port": 9091}]},
            {"ports": [{"port": 9404}]},
        ]
        for listener in at(cluster, "spec", "kafka", "listeners"):
            rules.append({"from": listener["networkPolicyPeers"], "ports": [{"port": listener["port"]}]})
        yield {
            "kind": "NetworkPolicy",
            "metadata": {"name": f"{name}-network-policy-kafka", "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": brokers}, "policyTypes": ["Ingress"], "ingress": rules},
        }
