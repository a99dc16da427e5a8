"""Each component reaches what it must and nothing more, as a network plugin would have it."""

import pytest

from pipelines.cluster import ALERTS, STEP_LABEL, STEPS
from tests.manifests.landscape import Landscape
from tests.manifests.objects import NAMESPACE
from tests.manifests.reach import Node, connections, nodes_of, strimzi_policies
from tests.manifests.worlds import WORLDS, world

pytestmark = pytest.mark.usefixtures("crds")

METRICS = {f"{name}:9090" for name in ("archiver", "analyzer", "recorder", "producer")}
KAFKA, DATABASE, STORE, TRACKING = "kafka:9093", "timescaledb:5432", "minio:9000", "mlflow:5000"
# Strimzi shows its brokers' metrics to everybody who may go out.
BROKER_METRICS = "kafka:9404"
API, WEB, CAMERA = "api-server:6443", "web:443", "camera:554"
KATIB = "pathcast-search/suggestion"

# Not of the manifests: what runs beside the platform, what is in no policy's mind, and addresses outside.
OTHERS = (
    Node("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    Node("grafana", "monitoring", {"app.kubernetes.io/name": "grafana"}),
    Node("bystander", NAMESPACE),
    Node("stranger", "elsewhere", {"pathcast.io/triton-client": "true", "app.kubernetes.io/name": "pathcast"}),
    *(Node(f"gateway-{name}", name) for name in ("kserve", "envoy-gateway-system", "istio-system")),
    Node("katib-controller", "kubeflow", {"katib.kubeflow.org/component": "controller"}),
    # Katib makes one for an experiment, with the service that stops trials early.
    Node(
        KATIB,
        "pathcast-search",
        {"katib.kubeflow.org/experiment": "forecaster", "katib.kubeflow.org/suggestion": "forecaster"},
        {"katib-api": 6789, "earlystop-api": 6788},
    ),
    # ModelMesh makes these of its runtime.
    Node(
        "modelmesh",
        "pathcast-modelmesh",
        {"app.kubernetes.io/managed-by": "modelmesh-controller", "modelmesh-service": "modelmesh-serving"},
        {"grpc": 8033, "litelinks": 8080, "prometheus": 2112},
    ),
)
DNS = Node("kube-dns", "kube-system", {"k8s-app": "kube-dns"}, {"dns": 53})
OUTSIDE = (
    DNS,
    Node("ml-pipeline", "kubeflow", {"app": "ml-pipeline"}, {"http": 8888}),
    Node("katib-db-manager", "kubeflow", {"katib.kubeflow.org/component": "db-manager"}, {"api": 6789}),
    Node("etcd", "modelmesh-serving", {"app": "etcd"}, {"client": 2379}),
    Node("model-controller", "modelmesh-serving", {"app": "modelmesh-controller"}, {"grpc": 8080}),
    Node("api-server", "", {}, {"https": 6443, "minikube": 8443, "microk8s": 16443}, address="192.0.2.1"),
    Node("web", "", {}, {"https": 443, "plain": 80, "mail": 587}, address="198.51.100.7"),
    Node("camera", "", {}, {"rtsp": 554, "ssh": 22}, address="10.1.2.3"),
)


def steps() -> list[Node]:
    return [
        Node(
            f"step-{'-'.join(uses)}",
            NAMESPACE,
            {
                STEP_LABEL[0]: STEP_LABEL[1],
                "workflows.argoproj.io/workflow": "run",
                **{f"pathcast.io/{server}-client": "true" for server in uses},
            },
        )
        for uses in sorted({step.uses for step in STEPS.values()})
    ]


def reached(name: str) -> dict[str, set[str]]:
    """What every pod may connect to; of pods in namespaces that are not ours, only what is ours."""
    landscape = Landscape(world(name))
    ours = {item["metadata"]["namespace"] for item in landscape.of_kind("NetworkPolicy")}
    # Operators make pods only where there is something of ours for them.
    others = [node for node in OTHERS if node.namespace in ours or not node.namespace.startswith(NAMESPACE)]
    nodes = [*nodes_of(landscape), *others, *steps()]
    policies = [*landscape.of_kind("NetworkPolicy"), *strimzi_policies(landscape)]
    found = connections(policies, nodes, [*nodes, *OUTSIDE])
    outside = {f"{node.name}:{port}" for node in OUTSIDE for port in node.ports.values()}
    return {node.name: found[node.name] - (set() if node.namespace in ours else outside) for node in nodes}


def expected(name: str) -> dict[str, set[str]]:
    canary = {"triton-canary:8001"} if name == "canary" else set()
    # Knative's pods answer its gateways alone.
    triton = set() if name == "knative" else {"triton:8001", *canary}
    gateway = {server.replace("8001", port) for server in triton for port in ("8000", "8001")}
    api = {API, "api-server:8443", "api-server:16443"} if name == "cpu" else {API}
    mesh = {"modelmesh:8033"} if name in ("gpu", "cpu") else set()
    alerts = {"web:443", "web:587"} if name != "cpu" else set()
    kubeflow = {"ml-pipeline:8888", "katib-db-manager:6789", "web:443", *api}
    monitoring = {*METRICS, STORE, BROKER_METRICS, *(server.replace("8033", "2112") for server in mesh)}
    monitoring |= {server.replace("8001", "8002") for server in triton} or {"triton:8001"}
    found = {
        "producer": {KAFKA, CAMERA},
        "archiver": {KAFKA, DATABASE, STORE},
        "analyzer": {KAFKA, DATABASE, *triton},
        "recorder": {KAFKA, DATABASE},
        "migration": {DATABASE},
        "monitor": {DATABASE, TRACKING, *triton, *alerts, *({"ml-pipeline:8888"} if alerts else ())},
        "test": {*METRICS, *triton},
        "timescaledb-roles": {DATABASE},
        "minio-setup": {STORE},
        "minio": {STORE},
        "mlflow": {DATABASE, STORE},
        "triton": {STORE},
        "kafka": {"kafka:9090", "kafka:9091", "web:443", *api},
        "entity-operator": {"kafka:9091", "web:443", *api},
        "prometheus": monitoring,
        "grafana": {*monitoring, DATABASE},
        "stranger": {BROKER_METRICS},
        "katib-controller": {BROKER_METRICS},
        "gateway-kserve": {*gateway, BROKER_METRICS},
        "gateway-envoy-gateway-system": {*gateway, BROKER_METRICS},
        "gateway-istio-system": {BROKER_METRICS, *({"triton:8001"} if name == "knative" else ())},
    }
    servers = {"database": {DATABASE}, "object-store": {STORE}, "tracking": {TRACKING}, "triton": {*triton}}
    for step in steps():
        uses = {server for server in servers if step.labels.get(f"pathcast.io/{server}-client")}
        found[step.name] = kubeflow.union(*(servers[server] for server in uses))
        if f"pathcast.io/{ALERTS}-client" in step.labels:
            found[step.name] |= {"web:443", "web:587"}
    if canary:
        found["triton-canary"] = {STORE}
    if mesh:
        found["training"] = {"training:2222", DATABASE, TRACKING}
        found["admin"] = {DATABASE, STORE, TRACKING, *triton, "web:443", "web:587"}
        found["modelmesh"] = {STORE, "modelmesh:8033", "modelmesh:8080", "etcd:2379"}
    if name == "gpu":
        found["katib-controller"] |= {f"{KATIB}:6788", f"{KATIB}:6789"}
        found["pathcast-search/search-trial"] = {f"{KATIB}:6788", "katib-db-manager:6789"}
        found[KATIB] = {"katib-db-manager:6789", "web:443", *api}
    return found


@pytest.mark.parametrize("name", WORLDS)
def test_each_component_reaches_what_it_must_and_nothing_more(name: str) -> None:
    found = reached(name)
    foreign = {node.name for node in OTHERS if not node.namespace.startswith(NAMESPACE)}
    names = f"{DNS.name}:53"
    assert {client for client in found.keys() - foreign if names not in found[client]} == set()
    assert {client: servers - {names} for client, servers in found.items() if servers - {names}} == expected(name)
