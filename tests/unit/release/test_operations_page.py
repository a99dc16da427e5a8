"""The page that people operate by agrees with the alerts, the commands and its own arithmetic."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from pathcast.core.detections import Detections
from pathcast.core.forecast import Forecast, ForecastScore
from pathcast.core.observation import Observation
from pathcast.core.track import FrameTracks
from pathcast.core.trajectory import FUTURE_STEPS, METRES
from pathcast.messaging.observation_codec import encode_observation

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "operations.md").read_text()
PAGES = {name: (PROJECT / "docs" / name).read_text() for name in ("operations.md", "jenkins.md")}
SECONDS_A_DAY = 86_400


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("*", ""))


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    alerts = re.findall(r"- alert: (\w+)", (PROJECT / "helm" / "pathcast" / "files" / "rules.yaml").read_text())
    assert sorted(re.findall(r"(?m)^### (\w+)$", PAGE)) == sorted(alerts)


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile)) | {"compile"}
    code = re.findall(r"```bash\n(.*?)```", PAGES[page], re.DOTALL) + re.findall(r"`(make [^`]+)`", PAGES[page])
    named = {word for block in code for line in re.findall(r"\bmake ([a-z][a-z -]*)", block) for word in line.split()}
    assert named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        text = PAGES[page] if not path else None
        if path:
            file = PROJECT / "docs" / path
            assert file.exists(), target
            text = file.read_text() if file.is_file() else ""
        headings = {
            re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
            for line in re.findall(r"(?m)^#+ (.*)$", text)
        }
        assert not anchor or anchor in headings, target


def test_the_databases_size_adds_up() -> None:
    rows = re.findall(r"(?m)^\| ([a-z *]+) \| ([^|]+) \| ([\d,]*) ?\| ([\d.*]+) \| ([\d,*]+) \|$", PAGE)
    tables = {name: parts for name, *parts in rows if "sum" not in name}
    assert len(tables) == 6
    rates, rate_mb, day_gb = 0.0, 0.0, 0.0
    for rate, size, megabytes, gigabytes in tables.values():
        rows_per_s = _number(rate.rpartition("= ")[2])
        assert rows_per_s * _number(size) / 1e6 == pytest.approx(_number(megabytes), abs=0.06)
        assert rows_per_s * _number(size) * SECONDS_A_DAY / 1e9 == pytest.approx(_number(gigabytes), abs=1)
        rates, rate_mb, day_gb = rates + rows_per_s, rate_mb + _number(megabytes), day_gb + _number(gigabytes)
    (total,) = [parts for name, *parts in rows if "sum" in name]
    assert _number(total[0]) == rates
    assert _number(total[2]) == pytest.approx(rate_mb, abs=0.1)
    assert _number(total[3]) == pytest.approx(day_gb, abs=2)


def test_the_plans_other_sums_add_up() -> None:
    """Kafka's disks by the retention of the shipped topics, and the object store by days."""
    topics = {
        item["spec"]["topicName"]: item["spec"]
        for item in yaml.safe_load_all((PROJECT / "deployments" / "kafka" / "base" / "topics.yaml").read_text())
    }
    planned = re.findall(r"(?m)^\| `(\w+)` \| ([\d.]+) GB/s x (\d+) h x (\d) copies \| ([\d.]+) \|$", PAGE)
    assert [name for name, *_ in planned] == ["frames", "observations"]
    total = 0.0
    for name, rate, hours, copies, terabytes in planned:
        assert int(topics[name]["config"]["retention.ms"]) == int(hours) * 3_600_000
        assert topics[name]["replicas"] == int(copies)
        assert float(rate) * int(hours) * 3.6 * int(copies) == pytest.approx(float(terabytes), abs=0.1)
        total += float(terabytes)
    (both,) = re.findall(r"(?m)^\| \*\*both\*\* \| \| \*\*([\d.]+)\*\* \|$", PAGE)
    assert float(both) == pytest.approx(total)
    (frame_bytes, forecast_bytes, rate) = re.findall(
        r"5,000 x (\d+) B .* 7,500 forecasts and scores x ([\d,]+) B \| ([\d.]+) MB/s", PAGE
    )[0]
    assert (5_000 * _number(frame_bytes) + 7_500 * _number(forecast_bytes)) / 1e6 == pytest.approx(float(rate), abs=0.1)
    stored = re.findall(r"43\.2 x (\d+) = ([\d,.]+), x 1\.5 / 0\.8 \| \*\*([\d,]+)\*\* \| ([\d.]+) \|", PAGE)
    assert len(stored) == 2
    for days, net, gross, petabytes in stored:
        assert 43.2 * int(days) == pytest.approx(_number(net))
        assert _number(net) * 1.5 / 0.8 == pytest.approx(_number(gross), abs=1)
        assert _number(gross) * 10 / 1_000 == pytest.approx(float(petabytes), abs=0.05)


def test_observations_are_as_large_as_the_plan_says() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 500, (3, 2))
    boxes, scores, numbers = np.hstack([corners, corners + 50]), random.uniform(0.5, 1, 3), [0, 1, 2]
    forecasts = tuple(
        Forecast(
            "camera-0001", track, 0, 4_400_000_000, [0.0, 1.0], [1.0, 0.0], random.normal(size=(20, FUTURE_STEPS, 2)),
            -random.uniform(0, 5, 20), METRES, "forecaster", "12",
        )
        for track in numbers
    )  # fmt: skip
    errors = (0.1, 0.2, 0.1, 0.3, 0.5, 0.25)
    scored = tuple(
        ForecastScore(
            "camera-0001", track, 0, 4_399_999_988, "forecaster", "12", METRES, "scored", FUTURE_STEPS, *errors
        )
        for track in numbers
    )

    def size(paths: tuple[Forecast, ...], judged: tuple[ForecastScore, ...]) -> int:
        observation = Observation(
            "camera-0001", 42, datetime(2026, 3, 1, 12, tzinfo=UTC), 1280, 720, "detector", "7",
            Detections(boxes, scores, [0, 0, 0]), FrameTracks(numbers, boxes, scores, [0, 0, 0], numbers),
            random.normal(size=(3, 2)), METRES, paths, judged,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", brightness=119.3, sharpness=12.1,
        )  # fmt: skip
        return len(encode_observation(observation))

    alone, full = size((), ()), size(forecasts, scored)
    ((planned, planned_forecast),) = re.findall(r"with a score in it \| (\d+), (\d+) \|", PAGE)
    assert f"5,000 x {planned} B" in PAGE
    assert f"x {int(planned_forecast):,} B" in PAGE
    assert alone == pytest.approx(int(planned), rel=0.02)
    assert (full - alone) / 3 == pytest.approx(int(planned_forecast), rel=0.02)
