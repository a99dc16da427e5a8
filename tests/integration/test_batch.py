"""`pathcast batch` as a person starts it, killed in the middle; and from the platform's own store and models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.registry.publishing import object_store

pytestmark = pytest.mark.integration

FILES = ("tracks.txt", "tracks.parquet", "forecasts.parquet", "forecast_scores.parquet", "annotated.mp4")
FRAMES, CELLS, CELL_PX = 900, 6, 16


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of the served signature without learning: bright cells of a 6 x 6 grid are objects."""
    side = CELLS * CELL_PX
    corners = np.array([[x, y, x + 1, y + 1] for y in range(CELLS) for x in range(CELLS)], np.float32) * CELL_PX
    constants = {
        "grid": corners[None],
        "flat": np.array([1, CELLS * CELLS], np.int64),
        "kinds": np.zeros((1, CELLS * CELLS), np.int64),
        "white": np.array(255.0, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["means"], kernel_shape=[CELL_PX] * 2, strides=[CELL_PX] * 2),
        helper.make_node("Reshape", ["means", "flat"], ["sums"]),
        helper.make_node("Div", ["sums", "white"], ["scores"]),
        helper.make_node("Identity", ["grid"], ["boxes"]),
        helper.make_node("Identity", ["kinds"], ["classes"]),
    ]
    cells = CELLS * CELLS
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, side, side, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, cells, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, cells]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, [1, cells]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path = tmp_path_factory.mktemp("model") / "bright.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright square that circles over a dark ground, for three segments and a bit."""
    path = tmp_path_factory.mktemp("clip") / "circle.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (192, 192))
    for frame in range(FRAMES):
        image = np.full((192, 192, 3), 10, np.uint8)
        x, y = (int(80 + 60 * wave(frame / 80)) for wave in (np.cos, np.sin))
        image[y : y + 40, x : x + 40] = 250
        writer.write(image)
    writer.release()
    return path


# What the extra `batch` does not bring.
NOT_NEEDED = ("kafka", "minio", "mlflow", "onnx", "psycopg", "tensorflow", "tritonclient")


def command(source: object, out: Path, *options: object) -> list[str]:
    """The command in a process of its own, where only the object store's client is beside the extra `batch`."""
    absent = [name for name in NOT_NEEDED if not (name == "minio" and str(source).startswith("s3://"))]
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); from pathcast.cli.main import main; main()"
    return [sys.executable, "-c", program, "batch", str(source), "--out", str(out), *map(str, options)]


def run(*arguments: object) -> None:
    done = subprocess.run(command(*arguments), check=False, capture_output=True, text=True, timeout=120)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stdout + done.stderr


@retry(retry=retry_if_result(lambda there: not there), stop=stop_after_delay(60), wait=wait_fixed(0.005))
def wait_for(path: Path) -> bool:
    return path.is_file()


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
    wait_for(killed / "unfinished" / "progress")
    process.kill()
    process.wait()
    assert not (killed / "batch.json").exists()
    run(clip, killed, "--detector", detector, "--json", tmp_path / "killed.json")
    resumed = json.loads((tmp_path / "killed.json").read_text())["videos"][clip.name]
    assert resumed["frames"] == FRAMES
    assert resumed["resumed_from_frame"] in (256, 512, 768)
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
        image = np.full((96, 96, 3), 10, np.uint8)
        image[30:60, 20 + frame // 2 : 50 + frame // 2] = 250
        cv2.imwrite(str(short / f"{frame:03d}.png"), image)
        store.fput_object(bucket, f"night/{frame:03d}.png", str(short / f"{frame:03d}.png"))
    options = ("--detector", detector, "--fps", 10, "--state-dir", platform.state_dir)
    run(f"s3://{bucket}/night", tmp_path / "from-store", *options)
    run(short, tmp_path / "from-folder", *options)
    first, second = (pq.read_table(tmp_path / name / "tracks.parquet") for name in ("from-store", "from-folder"))
    assert first.num_rows > 0
    assert first == second
