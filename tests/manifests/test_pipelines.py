"""What the pipelines refer to on a cluster is what the chart and the manifests make."""

import re

import yaml

from pathcast.training import job_objects
from pipelines.cluster import ALERTS, STEP_LABEL, STEPS, WORKSPACE, WORKSPACE_CLAIM
from tests.manifests.landscape import Landscape, takes
from tests.manifests.objects import ROOT, at, pods
from tests.manifests.worlds import built, world

GOLDEN = sorted((ROOT / "tests" / "golden" / "pipelines").glob("*.yaml"))

SERVERS = {"database": "timescaledb", "object-store": "minio", "tracking": "mlflow", "triton": "triton"}


def configs() -> list[dict]:
    found = []
    for file in GOLDEN:
        _, platforms = yaml.safe_load_all(file.read_text())
        found += platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    return found


def test_every_name_that_a_step_refers_to_exists() -> None:
    landscape = Landscape(world("gpu"))
    for config in configs():
        for kind, key in (("ConfigMap", "configMapAsEnv"), ("Secret", "secretAsEnv")):
            for source in config.get(key, ()):
                name = source[f"{key.removesuffix('AsEnv')}Name"]
                wanted = {entry.get("secretKey") or entry["configMapKey"] for entry in source["keyToEnv"]}
                assert wanted <= landscape.keys[kind, name], name
        for mount in config.get("pvcMount", ()):
            assert ("PersistentVolumeClaim", mount["constant"]) in landscape.names


def test_the_admin_pod_has_what_the_step_with_most_servers_has() -> None:
    step = max(configs(), key=lambda config: len(config["podMetadata"]["labels"]))
    given = {
        entry["envVar"]: (source[f"{key.removesuffix('AsEnv')}Name"], entry.get("secretKey") or entry["configMapKey"])
        for key in ("configMapAsEnv", "secretAsEnv")
        for source in step[key]
        for entry in source["keyToEnv"]
    }
    (admin,) = (pod for item in built("admin") for pod in pods(item))
    own = {
        entry["name"]: (reference["name"], reference["key"])
        for entry in admin.containers[0]["env"]
        for reference in entry.get("valueFrom", {}).values()
    }
    # Its workspace is its own: it trains nothing.
    assert own == {name: source for name, source in given.items() if name != "PATHCAST_WORKSPACE"}
    assert admin.labels is not None
    assert step["podMetadata"]["labels"].items() <= admin.labels.items()


def test_no_secret_value_is_in_a_pipeline() -> None:
    for file in GOLDEN:
        assert not re.search(r"(?i)(password|secret_key|token)\W+value\W+(?!not-used)\w", file.read_text()), file


def test_policies_let_a_step_reach_its_servers_and_no_other() -> None:
    policies = [item for item in world("gpu") if item["kind"] == "NetworkPolicy"]
    ports = {"database": 5432, "object-store": 9000, "tracking": 5000, "triton": 8001}
    for step in STEPS.values():
        labels = {STEP_LABEL[0]: STEP_LABEL[1]} | {f"pathcast.io/{server}-client": "true" for server in step.uses}
        out = {
            port["port"]
            for policy in policies
            if takes(at(policy, "spec", "podSelector"), labels)
            for rule in at(policy, "spec", "egress") or ()
            for port in rule["ports"]
        }
        assert out >= {ports[server] for server in step.uses if server != ALERTS}
        assert (443 in out) is (ALERTS in step.uses)
        for server, name in SERVERS.items():
            (policy,) = [item for item in policies if at(item, "metadata", "name") == name]
            peers = [peer for rule in at(policy, "spec", "ingress") for peer in rule["from"] if "podSelector" in peer]
            let_in = any("namespaceSelector" not in peer and takes(peer["podSelector"], labels) for peer in peers)
            assert let_in is (server in step.uses)


def test_steps_and_jobs_share_one_volume() -> None:
    assert (WORKSPACE, WORKSPACE_CLAIM) == (job_objects.MOUNT, job_objects.CLAIM)
