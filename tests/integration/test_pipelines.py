"""The pipelines beside training, as a person starts them, on the real servers: every step a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest
from support.bright import bright_square, write_bright_detector
from support.sequences import make_sequence

from pathcast.core.frame import Frame
from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import ServingOptions, render_config
from pathcast.local.platform import Platform
from pathcast.registry.publishing import publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.shipped import noise
from pathcast.registry.tracking import tracking_client
from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import connect
from pathcast.storage.object_store import object_store
from pathcast.storage.writers import write_frames

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

TESTS = Path(__file__).parents[1]
DETECTOR, BUCKET = "pipeline_detector", "pipeline-test"
FRAMES = 40


def run_pipeline(platform: Platform, target: Path, name: str, *parameters: str) -> dict[str, object]:
    """What `pathcast pipeline run` says came out."""
    command = [sys.executable, "-m", "pathcast", "pipeline", "run", name, "--state-dir", str(platform.state_dir)]
    command += ["--json", str(target), *(part for text in parameters for part in ("--set", text))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
    outcome: dict[str, object] = json.loads(target.read_text())
    assert outcome["succeeded"] is True
    return outcome


@pytest.fixture(scope="module")
def detector(platform_settings: PlatformSettings, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A champion in the registry and in Triton that finds bright squares."""
    file = write_bright_detector(tmp_path_factory.mktemp("model") / "bright.onnx")
    given = Registration(onnx_path=file, card="Bright cells.", example=noise(file))
    publish_model(platform_settings, DETECTOR, given, render_config(DETECTOR, file, ServingOptions()))
    return DETECTOR


def test_a_search_is_shared_by_workers_and_goes_on(
    platform: Platform, platform_settings: PlatformSettings, tmp_path: Path
) -> None:
    common = ("family=support.toy_family:FAMILY", "workers=2", 'fixed={"epochs": 2}', "price=3")
    first = run_pipeline(platform, tmp_path / "first.json", "tune", *common, "trials=3")["result"]
    assert isinstance(first, dict)
    assert sum(first["trials"].values()) == 3 == sum(first["ran"])
    assert first["ran"] == [2, 1]
    assert first["best"] <= first["start"]
    assert {"learning_rate", "ema", "epochs"} <= first["settings"].keys()
    assert first["estimate_cost"] == pytest.approx(3 * first["estimate_machine_hours"], abs=1e-3)
    rounded = 0.05 + 2 * 0.0005  # the sum to tenths, each of its two trials to thousandths
    assert first["estimate_total_s"] == pytest.approx(2 * first["estimate_trial_s"], abs=rounded + 1e-9)

    more = run_pipeline(platform, tmp_path / "more.json", "tune", *common, "trials=4")["result"]
    assert isinstance(more, dict)
    assert (sum(more["trials"].values()), more["ran"]) == (4, [1])
    assert more["start"] == first["start"]
    client = tracking_client(platform_settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("tune-toy")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 4


def test_the_trackers_settings_are_searched_too(platform: Platform, tmp_path: Path) -> None:
    make_sequence(tmp_path / "sequences", "one", seed=0)
    source = json.dumps({"source": str(tmp_path / "sequences")})
    common = ("family=tracker", f"selection={source}", "workers=2", 'fixed={"confirm_hits": 2}', "trials=4")
    result = run_pipeline(platform, tmp_path / "tracker.json", "tune", *common)["result"]
    assert isinstance(result, dict)
    assert (result["objective"], result["direction"], result["ran"]) == ("hota", "maximize", [2, 2])
    assert result["best"] >= result["start"] > 0
    assert result["settings"]["confirm_hits"] == 2


def test_videos_of_the_store_become_tables_in_the_store(
    platform: Platform, platform_settings: PlatformSettings, detector: str, tmp_path: Path
) -> None:
    store = object_store(platform_settings)
    store.make_bucket(BUCKET)
    for name, step in (("left", 1), ("right", -1)):
        path = tmp_path / f"{name}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
        for frame in range(FRAMES):
            writer.write(bright_square(96, 30 + step * frame // 3, 30, 30))
        writer.release()
        store.fput_object(BUCKET, f"in/{name}.avi", str(path))
    store.put_object(BUCKET, "in/notes.txt", io.BytesIO(b"no video"), 8)

    parameters = (f'sources=["s3://{BUCKET}/in"]', f"output=s3://{BUCKET}/out/", f"detector={detector}")
    result = run_pipeline(platform, tmp_path / "outcome.json", "batch_inference", *parameters)["result"]
    assert isinstance(result, dict)
    assert (result["videos"], result["frames"]) == (2, 2 * FRAMES)
    assert result["rows"] > FRAMES
    assert result["stored"] == {
        f"s3://{BUCKET}/in/{name}.avi": f"s3://{BUCKET}/out/{name}" for name in ("left", "right")
    }
    kept = {item.object_name for item in store.list_objects(BUCKET, prefix="out/", recursive=True)}
    files = {
        "tracks.txt",
        "tracks.parquet",
        "forecasts.parquet",
        "forecast_scores.parquet",
        "annotated.mp4",
        "batch.json",
    }
    assert kept == {f"out/{name}/{file}" for name in ("left", "right") for file in files}
    answer = store.get_object(BUCKET, "out/left/tracks.parquet")
    tracks = pq.read_table(io.BytesIO(answer.read()))
    answer.release_conn()
    assert tracks.num_rows > FRAMES / 2

    times = {item.object_name: item.last_modified for item in store.list_objects(BUCKET, "out/left/")}
    again = run_pipeline(platform, tmp_path / "again.json", "batch_inference", *parameters)["result"]
    assert again == result
    kept_times = {item.object_name: item.last_modified for item in store.list_objects(BUCKET, "out/left/")}
    assert kept_times == times, "what is there already is left alone"


def test_the_archive_is_labelled_camera_by_camera(
    platform: Platform, platform_settings: PlatformSettings, detector: str, tmp_path: Path
) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)
    cameras = ("pipeline-a", "pipeline-b")
    archive = FrameArchive.connect(platform_settings)
    with connect(platform_settings.database_url, application_name="test") as connection:
        for camera in cameras:
            jpegs = [cv2.imencode(".jpg", bright_square(96, 20 + number // 2, 30, 30))[1] for number in range(20)]
            frames = [
                Frame(camera, number, start + timedelta(seconds=number / 10), 96, 96, jpeg.tobytes())
                for number, jpeg in enumerate(jpegs)
            ]
            write_frames(connection, archive.put(frames))
    parameters = (f"cameras={json.dumps(cameras)}", "every=4", f"teacher={detector}")
    result = run_pipeline(platform, tmp_path / "outcome.json", "label_archive", *parameters)["result"]
    assert isinstance(result, list)
    assert [(each["camera"], each["images"]) for each in result] == [(camera, 5) for camera in cameras]
    assert all(each["person"] >= each["images"] for each in result)
    (labels, _) = sorted((platform.state_dir / "pipelines").rglob("labels.json"))
    assert len(json.loads(labels.read_text())["images"]) == 5
    assert len(list((labels.parent / "images").iterdir())) == 5
