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

CASES = {
    "PathcastServiceDown": ('up{namespace="pathcast", job="pathcast-analyzer", pod="a-0"}', "1x5 0x20", "0x5 1x20"),
    "PathcastLagHigh": ('pathcast_lag_seconds{namespace="pathcast", service="analyzer"}', "30x30", "1x30"),
    "PathcastCameraSilent": (
        'pathcast_frames_out_total{namespace="pathcast", service="producer", camera="gate"}', "500x30", "0+420x30",
    ),
    "PathcastDeadLetters": (
        'pathcast_dead_letters_total{namespace="pathcast", service="analyzer", topic="frames"}', "0x15 1x15", "3x30",
    ),
    "PathcastRebuilding": (
        'pathcast_rebuilds_total{namespace="pathcast", service="recorder", error="KafkaError"}', "0+1x30", "2x30",
    ),
    "PathcastDrift": (
        'pathcast_drift_alarm{namespace="pathcast", family="detector", camera="gate", signal="brightness"}',
        "0x15 1x15", "0x30",
    ),
    "PathcastTritonDown": ('up{namespace="pathcast", job="triton"}', "0x30", "1x30"),
}  # fmt: skip


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
    by_name = {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}
    tests = []
    for name, (series, bad, good) in CASES.items():
        assert name in by_name
        for values, fires in ((bad, True), (good, False)):
            expression = f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)'
            sample = {"labels": "{}", "value": 1 if fires else 0}
            tests.append({
                "name": f"{name} {values}",
                "interval": "1m",
                "input_series": [{"series": series, "values": values}],
                "promql_expr_test": [{"expr": expression, "eval_time": "25m", "exp_samples": [sample]}],
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
    assert len(names) == 12
