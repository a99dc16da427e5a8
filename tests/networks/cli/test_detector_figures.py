"""Figures of eight bits are written also where they are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
from support.scenes import labelled_scenes
from typer.testing import CliRunner

from pathcast.cli.label import SHIPPED
from pathcast.cli.main import app
from pathcast.core.errors import GateFailedError
from pathcast.core.trained_model import TrainedModel
from pathcast.detection.coco_json import write_coco
from pathcast.detection.labelled import LabelledImages
from pathcast.export.quantize import Quantised


def run(*arguments: object) -> None:
    CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bits that cost more than a point, whatever there is to judge by."""
    small = Quantised(20, onnx.load(str(SHIPPED)), 0.87, 0.9, 0.4, 0.4, 5.0, 9.0)
    monkeypatch.setattr("pathcast.export.quantize.quantise_detector", lambda file, calibration, judged: small)


@pytest.mark.usefixtures("refused")
def test_a_benchmark_of_refused_eight_bits_has_its_figures(tmp_path: Path) -> None:
    labels, target = tmp_path / "street" / "labels.json", tmp_path / "it.json"
    labels.parent.mkdir()
    write_coco(labels, labelled_scenes(labels.parent, frames=40))
    with pytest.raises(GateFailedError, match="int8: expected drops of at most 0.01 on 20 images, got"):
        run("bench", "detector", "--data", labels, "--beside", SHIPPED, "--rounds", 3, "--json", target)
    rows = {row["name"]: row for row in json.loads(target.read_text())["rows"]}
    assert rows["in eight bits, median"]["ratio_to"] == "detector/1/model.onnx, median"
    assert rows["AP50, eight bits"]["value"] == 0.87


@pytest.mark.usefixtures("refused")
def test_an_export_of_refused_eight_bits_has_its_figures_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_shipped(
        network: object, labelled: LabelledImages, output: Path, version: int, **_: str
    ) -> Mapping[str, float]:
        (output / str(version)).mkdir(parents=True)
        shutil.copy(SHIPPED, output / str(version) / "model.onnx")
        return {"box_difference_px": 0.0, "score_difference": 0.0}

    monkeypatch.setattr("pathcast.export.detector.write_detector", write_shipped)
    monkeypatch.setattr("pathcast.training.detector.build", lambda settings: None)
    monkeypatch.setattr("pathcast.training.network.assign_weights", lambda network, weights: None)
    TrainedModel("detector", {}, {}).save(tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    for part in ("train", "val"):
        write_coco(data / f"{part}.json", labelled_scenes(data, frames=6))
    places = ("--model", tmp_path / "model", "--data", data, "--output", tmp_path / "out")
    with pytest.raises(GateFailedError, match="int8: expected drops"):
        run("export", "detector", *places, "--int8-output", tmp_path / "int8", "--json", tmp_path / "it.json")
    figures = json.loads((tmp_path / "it.json").read_text())
    assert figures["int8"]["accepted"] is False
    assert figures["box_difference_px"] == 0
    assert not (tmp_path / "int8").exists()
