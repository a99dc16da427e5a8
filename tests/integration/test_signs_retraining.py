"""A camera sees other signs than ever: the classifier's own answers alarm, and a retrained one is promoted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.classifier_file import write_classifier
from support.gtsrb import write_gtsrb

from pathcast.core import Detections, FrameTracks, Observation
from pathcast.core.classifications import Classifications
from pathcast.core.settings import PlatformSettings
from pathcast.export.signs import write_config
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.registry.shipped import publish_shipped
from pathcast.serving.classifiers import open_classifier
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.writers import write_observations

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

CAMERA = "signs-drift"
WINDOW, REFERENCE = timedelta(minutes=2), timedelta(minutes=16)
DEFINITIONS = {"signs": {"window_minutes": 2, "reference_hours": REFERENCE / timedelta(hours=1)}}
TRAINING = {
    "channels": 8,
    "blocks": [1, 1],
    "dropout": 0.0,
    "smoothing": 0.0,
    "epochs": 12,
    "batch_size": 12,
    "learning_rate": 1e-2,
    "ema": 0.5,
    "clip_norm": 10.0,
}


def saw(version: str, since: datetime, length: timedelta, kinds: tuple[int, ...], sureness: float) -> list[Observation]:
    """One sign a second, of one of the `kinds`, about as sure as that."""
    random = np.random.default_rng(len(kinds))
    made = []
    for second in range(int(length.total_seconds())):
        said = np.clip(random.normal(sureness, 0.02), 0, 1)
        answer = Classifications("signs", version, [0], [int(random.choice(kinds))], [said])
        found, tracks = Detections([[1, 2, 30, 40]], [0.9], [2]), FrameTracks([], np.zeros((0, 4)), [], [], [])
        made.append(
            Observation(
                CAMERA,
                second,
                since + timedelta(seconds=second),
                64,
                48,
                "detector",
                "1",
                found,
                tracks,
                np.zeros((0, 2)),
                "m",
                classifications=(answer,),
            )
        )
    return made


def retrain(
    platform: Platform, settings: PlatformSettings, source: Path, until: datetime, target: Path
) -> dict[str, Any]:
    """The outcome of the pipeline that trains where something alarms in the window that ends at `until`."""
    command = [sys.executable, "-m", "pathcast", "pipeline", "run", "continuous_training", "--json", str(target)]
    command += ["--state-dir", str(platform.state_dir)]
    for name, value in (
        ("family", "signs"),
        ("cameras", json.dumps([CAMERA])),
        ("until", until.isoformat()),
        ("selection", json.dumps({"source": str(source)})),
        ("training", json.dumps(TRAINING)),
        ("min_samples", "10"),
    ):
        command += ["--set", f"{name}={value}"]
    environment = {
        **os.environ,
        **settings_variables(settings),
        "PATHCAST_MONITOR_DEFINITIONS": json.dumps(DEFINITIONS),
        "PATHCAST_MONITOR_COOL_DOWN_HOURS": "0",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    return dict(json.loads(target.read_text()))


def test_signs_are_learned_anew_where_their_answers_change_and_not_before(
    platform: Platform, platform_settings: PlatformSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "shipped"
    write_config(folder, write_classifier(folder / "1" / "model.onnx"))
    (folder / "README.md").write_text("# signs\n")
    champion = publish_shipped(platform_settings, "signs", folder).version
    source = write_gtsrb(tmp_path / "raw", (1, 14, 24), tracks=6, frames=5, test=8)

    now = datetime.now(UTC).replace(second=0, microsecond=0)
    with connect(platform_settings.database_url, application_name="test") as connection:
        upsert_camera(connection, CAMERA, None)
        length = REFERENCE + WINDOW
        write_observations(connection, saw(str(champion), now - length, length, (1, 14), 0.95))
    quiet = retrain(platform, platform_settings, source, now, tmp_path / "quiet.json")
    assert (quiet["version"], quiet["champion"]) == (None, champion)

    with connect(platform_settings.database_url, application_name="test") as connection:
        connection.execute(
            "UPDATE detections SET kind_id = 24, kind_probability = 0.6 WHERE camera_id = %s AND captured_at >= %s",
            (CAMERA, now - WINDOW),
        )
    outcome = retrain(platform, platform_settings, source, now, tmp_path / "changed.json")
    gates = outcome["gates"]
    assert {"data", "parity", "metric", "latency", "smoke_test"} <= set(gates), gates
    assert all(gate["passed"] for gate in gates.values()), gates
    assert outcome["champion_before"] == champion != outcome["champion"] == outcome["version"]
    with TritonClient(platform_settings.triton_grpc) as client:
        _, served = open_classifier(client, "signs").classify(np.zeros((1, 48, 48, 3), np.uint8))
    assert served == str(outcome["version"])
