"""`pathcast batch` as a person starts it, killed in the middle; and from the platform's own store and models."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from support.bright import bright_square, write_bright_detector
from support.waiting import wait_for

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import ServingOptions, render_config
from pathcast.local.platform import Platform
from pathcast.registry.repository import ModelRepository
from pathcast.serving.batch.s3 import fetch, names_below
from pathcast.serving.batch.stored import analyse_video
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration

FILES = ("tracks.txt", "tracks.parquet", "forecasts.parquet", "forecast_scores.parquet", "annotated.mp4")
FORECASTER = Path(__file__).parents[2] / "model_repo" / "forecaster" / "1" / "model.onnx"
FRAMES = 600


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bright_detector(tmp_path_factory.mktemp("model") / "bright.onnx")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square that circles over a dark ground, for two segments and a bit."""
    path = tmp_path_factory.mktemp("clip") / "circle.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (192, 192))
    for frame in range(FRAMES):
        x, y = (int(80 + 60 * wave(frame / 80)) for wave in (np.cos, np.sin))
        writer.write(bright_square(192, x, y, 40))
    writer.release()
    return path


# What the extra `batch` does not bring.
NOT_NEEDED = ("kafka", "minio", "mlflow", "onnx", "psycopg", "tensorflow", "tritonclient")


def command(source: object, out: Path, *options: object, needs: tuple[str, ...] = ()) -> list[str]:
    """The command in a process of its own, where only `needs` is beside the extra `batch`."""
    absent = [name for name in NOT_NEEDED if name not in needs]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); from pathcast.cli.main import main; main()"
    return [sys.executable, "-c", program, "batch", str(source), "--out", str(out), *map(str, options)]


def run(source: object, out: Path, *options: object, needs: tuple[str, ...] = ()) -> None:
    done = subprocess.run(
        command(source, out, *options, needs=needs), check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_killed_run_goes_on_and_writes_what_an_undisturbed_one_does(
    clip: Path, detector: Path, tmp_path: Path
) -> None:
    run(clip, tmp_path / "whole", "--detector", detector, "--json", tmp_path / "whole.json")
    whole = json.loads((tmp_path / "whole.json").read_text())["videos"][clip.name]
    assert (whole["frames"], whole["resumed_from_frame"]) == (FRAMES, 0)
    assert whole["rows"]["tracks.parquet"] > FRAMES / 2
    assert whole["rows"]["forecasts.parquet"] > 20

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        command(clip, killed, "--detector", detector), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for((killed / "unfinished" / "progress").is_file, "the first frames of the batch")
    process.kill()
    process.wait()
    assert not (killed / "batch.json").exists()
    run(clip, killed, "--detector", detector, "--json", tmp_path / "killed.json")
    resumed = json.loads((tmp_path / "killed.json").read_text())["videos"][clip.name]
    assert resumed["frames"] == FRAMES
    assert resumed["resumed_from_frame"] in (256, 512)
    for name in FILES:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_wrong_source_or_no_detector_is_told(tmp_path: Path, detector: Path) -> None:
    for arguments, message in (
        ((tmp_path / "none.mp4", tmp_path / "out", "--detector", detector), "no such file or folder"),
        ((tmp_path / "none.mp4", tmp_path / "out", "--start-at", "noon"), "expected ISO 8601"),
    ):
        done = subprocess.run(command(*arguments), check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2)
        assert message in " ".join((done.stdout + done.stderr).replace("│", " ").split())


def test_videos_come_from_the_platforms_store(
    platform: Platform, platform_settings: PlatformSettings, clip: Path, detector: Path, tmp_path: Path
) -> None:
    store, bucket = object_store(platform_settings), "batch-test"
    store.make_bucket(bucket)
    short = tmp_path / "short"
    short.mkdir()
    for frame in range(40):
        cv2.imwrite(str(short / f"{frame:03d}.png"), bright_square(96, 20 + frame // 2, 30, 30))
        store.fput_object(bucket, f"night/{frame:03d}.png", str(short / f"{frame:03d}.png"))
    options = ("--detector", detector, "--fps", 10, "--state-dir", platform.state_dir)
    run(f"s3://{bucket}/night", tmp_path / "from-store", *options, needs=("minio",))
    assert json.loads((tmp_path / "from-store" / "batch.json").read_text())["source"] == "night"
    run(short, tmp_path / "from-folder", *options)
    first, second = (pq.read_table(tmp_path / name / "tracks.parquet") for name in ("from-store", "from-folder"))
    assert first.num_rows > 0
    assert first == second


def test_a_folder_holds_what_lies_at_one_address(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    store, bucket, folder = object_store(platform_settings), "fetch-test", tmp_path / "source"
    store.make_bucket(bucket)

    def put(name: str, content: bytes) -> None:
        store.put_object(bucket, name, io.BytesIO(content), len(content))

    def fetched(address: str) -> dict[str, bytes]:
        assert fetch(store, f"s3://{bucket}/{address}", folder).exists()
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}

    for name in ("day/1.png", "day/2.png", "night/2.png", "night/3.png"):
        put(name, name.encode())
    assert fetched("day") == {"1.png": b"day/1.png", "2.png": b"day/2.png"}
    assert fetched("night") == {"2.png": b"night/2.png", "3.png": b"night/3.png"}
    put("night/3.png", b"newer")
    store.remove_object(bucket, "night/2.png")
    assert fetched("night") == {"3.png": b"newer"}
    unchanged = (folder / "3.png").stat().st_mtime_ns
    fetched("night")
    assert (folder / "3.png").stat().st_mtime_ns == unchanged
    with pytest.raises(InvalidInputError, match="no video and no image"):
        fetched("dusk")
    put("night/yard.ogv", b"not read")
    put("night/more/4.png", b"further below")
    assert fetched("night") == {"3.png": b"newer"}
    for address, names in (("night/", ["3.png", "yard.ogv"]), ("night/3.png", []), ("nig", [])):
        assert sorted(names_below(store, f"s3://{bucket}/{address}")) == names
    assert fetched("night/3.png") == {"3.png": b"newer"}


def test_other_peoples_files_stay_where_they_are(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    store, bucket = object_store(platform_settings), "foreign-test"
    store.make_bucket(bucket)
    store.put_object(bucket, "gate/1.png", io.BytesIO(b"1"), 1)
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="found other files"):
        fetch(store, f"s3://{bucket}/gate", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def test_what_cannot_be_brought_here_is_named(platform_settings: PlatformSettings, tmp_path: Path) -> None:
    store, bucket = object_store(platform_settings), "torn-test"
    store.make_bucket(bucket)
    store.put_object(bucket, "gate/1.png", io.BytesIO(b"1"), 1)
    fetch(store, f"s3://{bucket}/gate", tmp_path / "gate")
    (tmp_path / "gate" / ".fetched.json").write_text('{"1.png":')
    with pytest.raises(InvalidInputError, match=r"\.fetched\.json: damaged"):
        fetch(store, f"s3://{bucket}/gate", tmp_path / "gate")
    with pytest.raises(PathcastError, match="gate: cannot be brought here: .*Not a directory"):
        fetch(store, f"s3://{bucket}/gate", tmp_path / "gate" / "1.png" / "gate")


@pytest.fixture(scope="module")
def served_detector(platform_settings: PlatformSettings, detector: Path) -> Iterator[str]:
    """The detector's name in Triton."""
    model = "batch_detector"
    repository = ModelRepository(object_store(platform_settings), platform_settings.models_bucket)
    config = render_config(model, detector, ServingOptions())
    repository.publish(model, detector, config, version=1, card="Bright cells.")
    with TritonClient(platform_settings.triton_grpc) as client:
        client.load(model)
        yield model
        client.unload(model)


def test_a_video_of_the_store_goes_on_where_it_was_killed(
    platform: Platform, platform_settings: PlatformSettings, clip: Path, served_detector: str, tmp_path: Path
) -> None:
    store, bucket, workspace = object_store(platform_settings), "stored-test", tmp_path / "workspace"
    store.make_bucket(bucket)
    store.fput_object(bucket, "in/circle.avi", str(clip))
    source, settings = f"s3://{bucket}/in/circle.avi", platform_settings.model_copy(update={"workspace": workspace})

    def analysed(output: str) -> dict[str, Any]:
        return analyse_video(settings, source, f"s3://{bucket}/{output}", detector=served_detector)

    whole = analysed("whole")
    assert (whole["frames"], whole["resumed_from_frame"]) == (FRAMES, 0)
    program = (
        "import sys; from pathlib import Path; from pathcast.core.settings import load_settings;"
        "from pathcast.serving.batch.stored import analyse_video;"
        "settings = load_settings(Path(sys.argv[1])).model_copy(update={'workspace': Path(sys.argv[2])});"
        "analyse_video(settings, *sys.argv[3:5], detector=sys.argv[5])"
    )
    arguments = (platform.state_dir, workspace, source, f"s3://{bucket}/killed", served_detector)
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])
    try:
        wait_for(lambda: any((workspace / "batch").glob("*/*/unfinished/progress")), "the first frames of the batch")
        with pytest.raises(PathcastError, match="another run is writing"):
            analysed("killed")
    finally:
        process.kill()
        process.wait()
    resumed = analysed("killed")
    assert (resumed["frames"], resumed["resumed_from_frame"]) in ((FRAMES, 256), (FRAMES, 512))
    for name in FILES:
        first, second = (store.get_object(bucket, f"{output}/circle/{name}").read() for output in ("whole", "killed"))
        assert first == second, name
    assert not [path for path in (workspace / "batch").iterdir() if path.is_dir()]


def test_models_from_triton_give_what_the_files_do(
    platform: Platform, clip: Path, detector: Path, served_detector: str, tmp_path: Path
) -> None:
    options = ("--no-video", "--forecaster", FORECASTER)
    served = ("--detector-model", served_detector, "--state-dir", platform.state_dir)
    report = tmp_path / "served.json"
    run(clip, tmp_path / "served", *options, *served, "--json", report, needs=("minio", "tritonclient"))
    run(clip, tmp_path / "file", *options, "--detector", detector)
    assert json.loads(report.read_text())["models"][0] == f"{served_detector} 1"
    for name in FILES[:-1]:
        assert (tmp_path / "served" / name).read_bytes() == (tmp_path / "file" / name).read_bytes(), name
