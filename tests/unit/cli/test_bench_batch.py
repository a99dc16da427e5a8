from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.detection.classes import COCO_CLASS_IDS
from pathcast.detection.yolox_import import read_yolox, to_served
from pathcast.serving.batch import benchmark
from pathcast.serving.batch.benchmark import Spent, as_ultralytics_reads_it
from pathcast.serving.mp4 import Mp4Writer

FRAMES = 5


def write_clip(path: Path, height: int) -> Path:
    with Mp4Writer(path, 10) as writer:
        for frame in range(FRAMES):
            writer.write(np.full((height, 128, 3), 40 * frame, np.uint8))
    return path


@pytest.fixture
def arguments(yolox_path: Path, tmp_path: Path) -> list[str]:
    clip = write_clip(tmp_path / "clip.mp4", 96)
    return [
        "bench",
        "batch",
        "--video",
        str(clip),
        "--detector",
        str(yolox_path),
        "--json",
        str(tmp_path / "batch.json"),
    ]


class StandIn:
    """What Ultralytics' class does here: a result for each frame."""

    def __init__(self, model: str, task: str) -> None:
        (given,) = onnx.load(model).graph.input
        height = given.type.tensor_type.shape.dim[2].dim_value
        assert height == (320 if "fitted" in model else 416)

    def track(self, video: str, **options: object) -> object:
        assert options["stream"]
        return iter(range(FRAMES))


def test_ours_stands_beside_ultralytics_where_that_is_installed(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=StandIn))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads((tmp_path / "batch.json").read_text())["rows"]}
    assert len(rows) == 14
    for how in ("with", "without"):
        end = f"{how} the annotated video"
        ours, peer = rows[f"pathcast, {end}"], rows[f"Ultralytics, {end}"]
        assert ours["ratio_to"] == peer["name"]
        assert ours["ratio"] == pytest.approx(ours["value"] / peer["value"])
        assert rows[f"pathcast, {end}, processor"]["ratio_to"] == f"Ultralytics, {end}, processor"
        assert min(ours["value"], peer["value"]) > 0
        fitted = rows[f"Ultralytics with a fitted input, {end}"]
        assert rows[f"pathcast, {end}, over Ultralytics with a fitted input"]["value"] == pytest.approx(
            ours["value"] / fitted["value"]
        )


def test_each_counts_with_its_best_round_and_a_square_video_needs_no_other_input(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "clip.mp4", 128)
    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=StandIn))
    seconds = iter([2.0, 4.0, 2.0, 4.0, 1.0, 8.0, 5.0, 2.0])

    def spent(*_: object, annotate: bool) -> Spent:
        return Spent(8, next(seconds), 1.0)

    monkeypatch.setattr(benchmark, "run_ours", spent)
    monkeypatch.setattr(benchmark, "run_ultralytics", spent)
    result = CliRunner().invoke(app, [*arguments, "--rounds", "2"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row["value"] for row in json.loads((tmp_path / "batch.json").read_text())["rows"]}
    assert {name: value for name, value in rows.items() if "processor" not in name} == {
        "pathcast, with the annotated video": 8,
        "Ultralytics, with the annotated video": 2,
        "pathcast, without the annotated video": 4,
        "Ultralytics, without the annotated video": 4,
    }


def test_without_ultralytics_ours_is_reported_alone(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "the extra `yolo` is not installed" in " ".join(result.output.split())
    rows = json.loads((tmp_path / "batch.json").read_text())["rows"]
    assert len(rows) == 4
    assert all(row["ratio"] is None for row in rows)


def test_both_run_the_same_network(yolox_path: Path) -> None:
    source = read_yolox(yolox_path)
    images = np.random.default_rng(3).integers(0, 256, (1, 26, 26, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)

    def run(model: bytes, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return onnxruntime.InferenceSession(model).run(None, given)

    boxes, scores, classes = run(to_served(source).SerializeToString(), {"images": images})
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    (rows,) = run(as_ultralytics_reads_it(source).SerializeToString(), {"images": planes})
    centre, size, every = rows[0, :2].T, rows[0, 2:4].T, rows[0, 4:].T[:, list(COCO_CLASS_IDS)]
    best = np.argsort(-every.max(axis=1), kind="stable")[:20]
    np.testing.assert_allclose(every.max(axis=1)[best], scores[0, :20], atol=1e-5)
    np.testing.assert_array_equal(every.argmax(axis=1)[best], classes[0, :20])
    np.testing.assert_allclose(np.hstack((centre - size / 2, centre + size / 2))[best], boxes[0, :20], atol=0.05)
