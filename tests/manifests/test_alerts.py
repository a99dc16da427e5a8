"""The alerting rules, tried by Prometheus' own tool on series of the services' metrics."""

import json
import re
import subprocess
from importlib import resources
from pathlib import Path

import yaml

from tests.manifests.custom_resource_checks import known_metrics
from tests.manifests.objects import CHART, ROOT, at
from tests.manifests.worlds import rendered

_UP = 'up{namespace="pathcast", job="pathcast-%s", pod="%s-0"}'
_READY = 'kube_pod_status_ready{namespace="pathcast", pod="pathcast-%s-0", condition="true"}'
_RUNNING = tuple((_UP % (service, service), "1x400") for service in ("archiver", "analyzer", "recorder"))
_DEAD = 'pathcast_dead_letters_total{namespace="pathcast", service="analyzer", topic="frames", reason="%s"}'
_REBUILDS = 'pathcast_rebuilds_total{namespace="pathcast", service="recorder", error="KafkaError"}'
_SENT = 'pathcast_frames_out_total{namespace="pathcast", service="producer", camera="gate"}'
_LAG = 'pathcast_lag_seconds{namespace="pathcast", service="analyzer"}'
_CREATED = 'kube_cronjob_created{namespace="pathcast", cronjob="pathcast-monitor"}'
_SUCCEEDED = 'kube_cronjob_status_last_successful_time{namespace="pathcast", cronjob="pathcast-monitor"}'
_SET = 'kube_statefulset_%s{namespace="%s", statefulset="%s"}'
_BROKER = 'kube_pod_status_ready{namespace="pathcast", pod="pathcast-broker-%d", condition="true"}'
_BEHIND = 'kafka_server_replicamanager_underreplicatedpartitions{namespace="pathcast", pod="pathcast-broker-%d"}'
_VOLUME = 'kubelet_volume_stats_%s_bytes{namespace="%s", persistentvolumeclaim="data-timescaledb-0"}'
_DRIFT = 'pathcast_drift_alarm{namespace="pathcast", family="detector", camera="gate", signal="brightness"}'


def _replicas(kind: str, name: str, wanted: int, made: int) -> tuple[tuple[str, str], ...]:
    """What kube-state-metrics tells of a StatefulSet or Deployment."""
    labels = f'{{namespace="pathcast", {kind}="{name}"}}'
    wish = "kube_statefulset_replicas" if kind == "statefulset" else "kube_deployment_spec_replicas"
    return ((f"{wish}{labels}", f"{wanted}x30"), (f"kube_{kind}_status_replicas{labels}", f"{made}x30"))


def _available(name: str, wanted: int, made: int) -> tuple[tuple[str, str], ...]:
    """How many of a Deployment's pods are available."""
    labels = f'{{namespace="pathcast", deployment="{name}"}}'
    wish, found = "kube_deployment_spec_replicas", "kube_deployment_status_replicas_available"
    return ((f"{wish}{labels}", f"{wanted}x30"), (f"{found}{labels}", f"{made}x30"))


def _ready(name: str, wanted: int, values: str, namespace: str = "pathcast") -> tuple[tuple[str, str], ...]:
    """How many of a StatefulSet's pods are ready."""
    names = (_SET % (kind, namespace, name) for kind in ("replicas", "status_replicas_ready"))
    return tuple(zip(names, (f"{wanted}x400", values), strict=True))


def _disk(free: str, namespace: str = "pathcast") -> tuple[tuple[str, str], ...]:
    """A volume of 1,000 bytes."""
    return ((_VOLUME % ("capacity", namespace), "1000x400"), (_VOLUME % ("available", namespace), free))


# alert, series with their values minute by minute (_: none), and whether it fires after 25 minutes
CASES = (
    ("PathcastServiceDown", _RUNNING, False),
    ("PathcastServiceDown", (*_RUNNING, (_UP % ("analyzer", "other"), "1x5 0x20")), True),
    ("PathcastServiceDown", (*_RUNNING, (_UP % ("analyzer", "other"), "0x5 1x20")), False),
    ("PathcastServiceDown", _RUNNING[1:], True),
    ("PathcastServiceDown", (*_RUNNING, (_READY % "analyzer", "1x5 0x20")), True),
    ("PathcastServiceDown", (*_RUNNING, (_READY % "producer-gate", "0x30")), True),
    ("PathcastServiceDown", (*_RUNNING, (_READY % "analyzer", "1x15 0x1 1x15")), False),
    ("PathcastServiceDown", (*_RUNNING, (_READY % "monitor-1", "0x30")), False),
    ("PathcastServiceDown", (*_RUNNING, *_replicas("statefulset", "pathcast-analyzer", 4, 3)), True),
    ("PathcastServiceDown", (*_RUNNING, *_replicas("statefulset", "pathcast-analyzer", 4, 4)), False),
    ("PathcastServiceDown", (*_RUNNING, *_replicas("deployment", "pathcast-producer-gate", 1, 0)), True),
    ("PathcastServiceDown", (*_RUNNING, *_replicas("deployment", "pathcast-producer-gate", 1, 1)), False),
    ("PathcastLagHigh", ((_LAG, "30x30"),), True),
    ("PathcastLagHigh", ((_LAG, "1x30"),), False),
    ("PathcastLagHigh", ((_LAG, "_x10 0+60x20"),), True),
    ("PathcastCameraSilent", ((_SENT, "500x30"),), True),
    ("PathcastCameraSilent", ((_SENT, "_x10 0x20"),), True),
    ("PathcastCameraSilent", ((_SENT, "0+420x30"),), False),
    ("PathcastDeadLetters", ((_DEAD % "bad", "0x15 1x15"),), True),
    ("PathcastDeadLetters", ((_DEAD % "bad", "_x20 1x10"),), True),
    ("PathcastDeadLetters", ((_DEAD % "bad", "_x20 0x10"),), False),
    ("PathcastDeadLetters", ((_DEAD % "bad", "3x30"),), False),
    ("PathcastDeadLetters", ((_DEAD % "late", "0x15 40x15"),), False),
    ("PathcastDeadLetters", ((_DEAD % "late", "_x20 40x10"),), False),
    ("PathcastRebuilding", ((_REBUILDS, "0+1x30"),), True),
    ("PathcastRebuilding", ((_REBUILDS, "_x20 6x10"),), True),
    ("PathcastRebuilding", ((_REBUILDS, "_x20 2x10"),), False),
    ("PathcastRebuilding", ((_REBUILDS, "8x30"),), False),
    ("PathcastDrift", ((_DRIFT, "0x15 1x15"),), True),
    ("PathcastDrift", ((_DRIFT, "0x30"),), False),
    ("PathcastMonitorStale", ((_CREATED, "0x30"),), False),
    ("PathcastTritonDown", (('up{namespace="pathcast", job="triton"}', "0x30"),), True),
    ("PathcastTritonDown", (), True),
    ("PathcastTritonDown", (('up{namespace="pathcast", job="triton"}', "1x30"),), False),
    ("PathcastServerDown", (), False),
    ("PathcastServerDown", _ready("timescaledb", 1, "1x30"), False),
    ("PathcastServerDown", _ready("timescaledb", 1, "1x15 0x15"), True),
    ("PathcastServerDown", _ready("timescaledb", 1, "1x15 0x1 1x15"), False),
    ("PathcastServerDown", _ready("timescaledb", 1, "0x30", "another"), False),
    ("PathcastServerDown", _ready("minio", 4, "3x30"), True),
    ("PathcastServerDown", _ready("minio", 4, "4x30"), False),
    ("PathcastServerDown", (('up{namespace="pathcast", job="minio", pod="minio-2"}', "1x15 0x15"),), True),
    ("PathcastServerDown", _available("mlflow", 1, 0), True),
    ("PathcastServerDown", _available("mlflow", 1, 1), False),
    ("PathcastServerDown", ((_BROKER % 0, "1x30"), (_BROKER % 1, "1x15 0x15")), True),
    ("PathcastServerDown", ((_BROKER % 0, "1x30"), (_BROKER % 1, "1x30")), False),
    ("PathcastReplicasBehind", ((_BEHIND % 0, "0x5 12x25"), (_BEHIND % 1, "0x30")), True),
    ("PathcastReplicasBehind", ((_BEHIND % 0, "0x10 12x5 0x15"), (_BEHIND % 1, "0x30")), False),
    ("PathcastDiskFilling", _disk("300x30"), False),
    ("PathcastDiskFilling", _disk("90x30"), True),
    ("PathcastDiskFilling", _disk("90x30", "another"), False),
)
# The same after five hours.
LATER = (
    ("PathcastMonitorStale", ((_CREATED, "0x400"),), True),
    ("PathcastMonitorStale", ((_CREATED, "0x400"), (_SUCCEEDED, "_x240 14400x160")), False),
    ("PathcastMonitorStale", ((_CREATED, "0x400"), (_SUCCEEDED, "_x40 2400x360")), True),
    # Full within a day as it goes; slower; as fast, but with room for ten hours.
    ("PathcastDiskFilling", _disk("600-1x400"), True),
    ("PathcastDiskFilling", _disk("600-0.2x400"), False),
    ("PathcastDiskFilling", _disk("990-1x400"), False),
)


def rules() -> dict:
    """The groups of the chart's PrometheusRule."""
    (resource,) = [item for item in rendered(CHART / "ci" / "gpu.yaml") if item["kind"] == "PrometheusRule"]
    return resource["spec"]


def test_promtool_takes_the_rules(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    done = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_only_then(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    known = {rule["alert"] for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}
    tests = []
    for cases, eval_time in ((CASES, "25m"), (LATER, "5h")):
        for name, series, fires in cases:
            assert name in known
            expression = f'clamp_max(count(ALERTS{{alertname="{name}", alertstate="firing"}}), 1) or vector(0)'
            sample = {"labels": "{}", "value": 1 if fires else 0}
            tests.append({
                "name": f"{name} {series}",
                "interval": "1m",
                "input_series": [{"series": each, "values": values} for each, values in series],
                "promql_expr_test": [{"expr": expression, "eval_time": eval_time, "exp_samples": [sample]}],
            })  # fmt: skip
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    done = subprocess.run([promtool, "test", "rules", "tests.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_show_what_there_is() -> None:
    sql = resources.files("pathcast.storage") / "sql"
    schema = "\n".join(path.read_text() for path in sql.iterdir() if path.name.endswith(".sql"))
    tables = set(re.findall(r"(?:TABLE|VIEW)\s+(?:/\*\w+: )?(\w+)", schema))
    boards = sorted((CHART / "dashboards").glob("*.json"))
    assert {path.stem for path in boards} == {"stream", "triton", "models"}
    for path in boards:
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in board["panels"]:
            for target in panel["targets"]:
                assert set(re.findall(r"\bpathcast_\w+", target.get("expr", ""))) <= known_metrics(), panel["title"]
                assert set(re.findall(r"FROM (\w+)", target.get("rawSql", ""))) <= tables, panel["title"]


def test_every_alert_has_its_runbook() -> None:
    names = {at(rule, "alert") for group in rules()["groups"] for rule in group["rules"]} - {None}
    page = (ROOT / "docs" / "operations.md").read_text()
    for rule in (rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule):
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert f"\n### {rule['alert']}\n" in page
    assert len(names) == 15
