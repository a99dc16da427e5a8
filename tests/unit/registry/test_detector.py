from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.registry.detector import convert_detector
from tests.support.yolox import tiny_yolox


def test_an_input_is_cut_to_the_shape_of_the_cameras_frames(yolox_path: Path, tmp_path: Path) -> None:
    command = ["models", "import", str(yolox_path), "--family", "detector", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--frame-size", "1920x1080"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "detector"
    (given,) = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx")).get_inputs()
    assert given.shape == ["N", 256, 416, 3]
    assert "dims: 256\n  dims: 416\n  dims: 3" in (folder / "config.pbtxt").read_text()
    assert "UINT8 [n, 256, 416, 3]" in (folder / "README.md").read_text()


def test_an_input_of_few_cells_is_imported_whole(yolox_path: Path, tmp_path: Path) -> None:
    detector = convert_detector(yolox_path, tmp_path, frame_size=(3000, 100))
    assert detector.input_size == (416, 32)
    assert "the best 273 per image" in detector.card


@pytest.mark.parametrize("text", ["1920", "1920x", "x1080", "1920*1080", "1920x-1", "1920x1080x3"])
def test_a_frame_size_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    arguments = ["models", "import", "yolox.onnx", "--family", "detector", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--frame-size", text])
    assert result.exit_code == 2
    assert "expected WIDTHxHEIGHT such as 1920x1080" in " ".join(result.output.replace("│", "").split())


def test_a_yolox_bound_to_its_input_is_not_cut(tmp_path: Path) -> None:
    path = tiny_yolox(tmp_path / "bound.onnx")
    with pytest.raises(InvalidInputError, match="its graph works for inputs of 96x64 only"):
        convert_detector(path, tmp_path, frame_size=(1920, 640))
