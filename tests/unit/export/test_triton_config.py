import os
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.export.triton_config import ServingOptions, check_config, render_config

GOLDEN = Path(__file__).parents[2] / "golden" / "triton" / "detector.config.pbtxt"


def write_model(path: Path, *, batch: int | str = "N", side: int = 416, boxes: str = "boxes") -> Path:
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, side, side, 3])]
    outputs = [
        helper.make_tensor_value_info(boxes, TensorProto.FLOAT, [batch, "K", 4]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, [batch, 300]),
    ]
    save(helper.make_model(helper.make_graph([], "signature", inputs, outputs)), str(path))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


def test_rendered_text_is_the_golden_file(model: Path) -> None:
    text = render_config(
        "detector", model, ServingOptions(instances=2, threads=1, parameters={"class_names": "person,car"})
    )
    if os.environ.get("PATHCAST_GOLDEN") == "write":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_what_is_rendered_passes_its_check(model: Path) -> None:
    check_config(render_config("detector", model), model)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"onnxruntime"', '"tensorrt"', "backend: expected 'onnxruntime', got 'tensorrt'"),
        ("max_batch_size: 8", "max_batch_size: 0", "max_batch_size: expected 1 or more, got 0"),
        ("  count: 1", "  count: 1 kind: KIND_GPU", "expected no kind"),
        ("TYPE_INT64", "TYPE_INT32", r"output: expected .*classes TYPE_INT64 \[300\].*classes TYPE_INT32"),
        ("dims: 300", "dims: 100", r"classes TYPE_INT64 \[300\].*got .*classes TYPE_INT64 \[100\]"),
        ('name: "boxes"', 'name: "box"', r"boxes TYPE_FP32 \[-1, 4\].*got box TYPE_FP32"),
        ("TYPE_UINT8", "TYPE_FP32", r"input: expected images TYPE_UINT8"),
    ],
)
def test_each_misfit_is_named(model: Path, old: str, new: str, message: str) -> None:
    text = render_config("detector", model)
    assert old in text
    with pytest.raises(GateFailedError, match=message):
        check_config(text.replace(old, new), model)


def test_a_config_of_another_size_does_not_fit(model: Path, tmp_path: Path) -> None:
    with pytest.raises(GateFailedError, match=r"\[640, 640, 3\]"):
        check_config(render_config("detector", model), write_model(tmp_path / "large.onnx", side=640))


def test_broken_text_and_files_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not a Triton model configuration"):
        check_config("name: {", model)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InvalidInputError, match="not a readable ONNX file"):
        render_config("detector", tmp_path / "text.onnx")
    with pytest.raises(InvalidInputError, match="first axis of free size"):
        render_config("detector", write_model(tmp_path / "fixed.onnx", batch=1))
