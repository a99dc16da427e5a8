"""A `.pt` of Ultralytics as a teacher and as a served model; needs the extra `yolo`, which no other test does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import scenes
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.detection.coco_json import read_coco
from pathcast.training.predictors import onnx_predictor
from pathcast.training.teachers import find_teacher

NOT_THERE = "the extra `yolo` (AGPL-3.0) is not installed: pip install 'pathcast[yolo]'"
ultralytics = pytest.importorskip("ultralytics", reason=NOT_THERE, exc_type=ImportError)

CONFIGS = ("yolov8n.yaml", "yolo26n.yaml")


@pytest.fixture(scope="module", params=CONFIGS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fresh weights of a published architecture, with COCO's names; no download."""
    import torch

    torch.manual_seed(3)
    model = ultralytics.YOLO(request.param)
    names = {index: f"thing {index}" for index in range(80)}
    names |= {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
    model.model.names = names
    path = tmp_path_factory.mktemp("pt") / f"{Path(request.param).stem}.pt"
    model.save(str(path))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_it_labels_a_clip(weights: Path, tmp_path: Path) -> None:
    clip = scenes.write_scene_video(tmp_path / "clip.avi", 6, 10)
    options = ("--every", 2, "--sure", 0.05, "--unsure", 0.05, "--frames", 1)
    run("label", clip, "--teacher", weights, "--output", tmp_path / "out", *options)
    assert len(read_coco(tmp_path / "out" / "labels.json")) == 3


def test_it_is_served_as_it_is(weights: Path, tmp_path: Path) -> None:
    run("models", "import", weights, "--family", "detector", "--output", tmp_path)
    folder = tmp_path / "detector"
    assert "AGPL-3.0" in (folder / "README.md").read_text()
    assert (folder / "config.pbtxt").is_file()
    image = np.pad(scenes.picture(20)[..., ::-1], ((0, 400), (0, 320), (0, 0)))
    served = onnx_predictor(folder / "1" / "model.onnx")(image[None])
    assert served["boxes"].shape == (1, 300, 4)
    # The package's own network on the same pixels.
    import torch

    planes = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255))
    network = ultralytics.YOLO(str(weights)).model.eval().float()
    if getattr(network, "end2end", False):
        network.end2end = False
    with torch.no_grad():
        raw = network(planes.float())
    raw = (raw[0] if isinstance(raw, tuple | list) else raw)[0].numpy()
    best = np.sort(raw[4:][[0, 1, 2, 3, 5, 7]].max(axis=0))[::-1][:300]
    np.testing.assert_allclose(served["scores"][0], best, atol=1e-4)


def test_a_model_of_other_things_is_refused_as_a_teacher(tmp_path: Path) -> None:
    model = ultralytics.YOLO("yolov8n.yaml")
    model.model.names = {index: f"thing {index}" for index in range(80)}
    model.save(str(tmp_path / "things.pt"))
    with pytest.raises(InvalidInputError, match="expected classes among person"):
        find_teacher(tmp_path / "things.pt")
    with pytest.raises(InvalidInputError, match="no such file"):
        find_teacher(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text(json.dumps({}))
    with pytest.raises(InvalidInputError, match="not a model that ultralytics loads"):
        find_teacher(tmp_path / "text.pt")
