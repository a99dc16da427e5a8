"""The loop closes: people walk faster, the forecasts' own error alarms, and a better model is promoted by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.circling import PLANE, analysed, seen
from support.shipped_champion import crown_shipped

from pathcast.core import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.monitoring.settings import MonitorSettings
from pathcast.registry.publishing import ModelLifecycle
from pathcast.serving.remote_models import RemoteForecaster
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.writers import write_observations
from pathcast.training.drift import DriftCheck, check_family
from pathcast.training.forecaster import FAMILY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3000)]

CAMERA, MODEL = "roundabout", "forecaster"
PACE = 1.6
WINDOW, REFERENCE = timedelta(minutes=2), timedelta(minutes=16)
AHEAD = timedelta(minutes=10)
"""What the camera is going to see is stored in advance: the check is of now, whenever a busy machine gets to it."""

# Walking straight on is not much worse than the shipped forecaster on circles, whatever the pace.
DEFINITIONS = {
    MODEL: {
        "window_minutes": 2,
        "reference_hours": REFERENCE / timedelta(hours=1),
        "signals": {"forecast_skill": None},
    }
}
THRESHOLD = next(signal.threshold for signal in FAMILY.monitoring.signals if signal.name == "forecast_error")


@pytest.fixture(scope="module")
def champion(platform_settings: PlatformSettings) -> int:
    """The shipped forecaster, which learned from people who walk more or less straight."""
    return crown_shipped(platform_settings, MODEL)


@pytest.fixture(scope="module")
def watch(platform_settings: PlatformSettings, champion: int) -> Callable[..., list[Observation]]:
    """What the camera sees from a moment on, as the analyzer makes it with the forecaster that serves; it is stored."""
    assert champion

    def watch(since: datetime, length: timedelta, **walkers: Any) -> list[Observation]:
        with TritonClient(platform_settings.triton_grpc) as client:
            observations = analysed(seen(CAMERA, since, length, **walkers), RemoteForecaster(client))
        with connect(platform_settings.database_url, application_name="test") as connection:
            upsert_camera(connection, CAMERA, PLANE.as_mapping())
            write_observations(connection, observations)
        return observations

    return watch


def error(observations: list[Observation]) -> float:
    """Mean ADE in metres of the forecasts that were scored."""
    return float(np.mean([score.ade for each in observations for score in each.scores if score.status == "scored"]))


def check(settings: PlatformSettings, until: datetime) -> DriftCheck:
    return check_family(settings, MODEL, [CAMERA], until=until, monitor=MonitorSettings(definitions=DEFINITIONS))


def test_walkers_that_are_faster_lead_to_a_better_champion(
    platform: Platform,
    platform_settings: PlatformSettings,
    champion: int,
    watch: Callable[..., list[Observation]],
    tmp_path: Path,
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    as_ever = watch(now - REFERENCE - 2 * WINDOW, REFERENCE + WINDOW)
    assert not check(platform_settings, now - WINDOW).alarm
    faster = watch(now - WINDOW, WINDOW + AHEAD, pace=PACE, seed=1)

    # What the chart's monitor does every hour.
    target = tmp_path / "drift.json"
    command = [sys.executable, "-m", "pathcast", "drift", "--family", MODEL, "--camera", CAMERA, "--retrain"]
    command += ["--until", now.isoformat(), "--json", str(target), "--state-dir", str(platform.state_dir)]
    cameras = f'cameras=["{CAMERA}"]'
    for parameter in ("days=0.1", cameras, 'training={"epochs": 12}', "replay_minutes=3"):
        command += ["--set", parameter]
    environment = {
        **os.environ,
        **settings_variables(platform_settings),
        "PATHCAST_MONITOR_DEFINITIONS": json.dumps(DEFINITIONS),
        "PATHCAST_MONITOR_COOL_DOWN_HOURS": "0",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2400, check=False)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    outcome = json.loads(target.read_text())
    assert any("forecast_error" in reason for reason in outcome["families"][MODEL]["reasons"])
    assert [(each["family"], each["status"]) for each in outcome["trainings"]] == [(MODEL, "succeeded")]
    with connect(platform_settings.database_url, application_name="test") as connection:
        runs = connection.execute("SELECT status, run FROM retraining_runs WHERE window_end = %s", (now,)).fetchall()
    ((status, run),) = runs
    assert status == "succeeded"
    assert run
    lifecycle = ModelLifecycle(platform_settings)
    promoted = lifecycle.champion(MODEL)
    assert promoted is not None
    assert promoted > champion
    verdicts = {verdict.gate: verdict.passed for verdict in lifecycle.verdicts(MODEL, promoted)}
    assert verdicts == dict.fromkeys(("data", "parity", "metric", "latency", "smoke_test", "replay"), True)

    later = watch(now + AHEAD + WINDOW, WINDOW, pace=PACE, seed=2)
    assert {each.model_version for frame in later for each in frame.forecasts} == {str(promoted)}
    before, worst, after = error(as_ever), error(faster), error(later)
    print(f"ADE {before:.3f} m, {worst:.3f} m at {PACE} times the pace, {after:.3f} m with the new champion")
    assert worst > (1 + THRESHOLD) * before
    assert after < (1 + THRESHOLD) * before
