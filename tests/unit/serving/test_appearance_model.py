from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathcast.core import Detections, InvalidInputError
from pathcast.serving.appearance_model import MAX_BATCH, EmbeddingDetector, FileAppearance, embedded


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A model whose vector is the mean of each channel."""
    nodes = [helper.make_node("ReduceMean", ["crops"], ["means"], axes=[2, 3], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, 32, 16])],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 3])],
    )
    path = tmp_path / "colours.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def striped() -> np.ndarray:
    """Columns of 10 pixels, red, green, blue, red …"""
    image = np.zeros((60, 90, 3), np.uint8)
    for column in range(9):
        image[:, 10 * column : 10 * column + 10, column % 3] = 255
    return image


def test_a_vector_is_of_its_own_box(colours: Path) -> None:
    boxes = np.array([[10 * column, 5, 10 * column + 10, 55] for column in range(9)] * 8, np.float32)
    assert len(boxes) > 2 * MAX_BATCH
    vectors = FileAppearance(colours).embed(striped(), boxes)
    assert vectors.shape == (72, 3)
    assert vectors.argmax(axis=1).tolist() == [0, 1, 2] * 24
    # (1 - mean) / deviation of red, as ImageNet has it.
    assert vectors[0, 0] == pytest.approx((1 - 0.485) / 0.229, abs=1e-4)


@pytest.mark.parametrize("box", [[-40, 5, -10, 20], [200, 5, 220, 20], [4, 8, 4, 30]])
def test_a_box_without_a_pixel_is_unknown(colours: Path, box: list[int]) -> None:
    vectors = FileAppearance(colours).embed(striped(), np.array([box, [0, 0, 10, 10]], np.float32))
    assert vectors[0].tolist() == [0, 0, 0]
    assert vectors[1, 0] > 0


def test_weak_detections_are_left_unknown(colours: Path) -> None:
    class Two:
        model = "two"

        def detect(self, images: object) -> tuple[list[Detections], str]:
            return [Detections([[0, 0, 10, 30], [10, 0, 20, 30]], [0.9, 0.2], [0, 0]) for _ in images], "7"  # type: ignore[attr-defined]

    found, version = EmbeddingDetector(Two(), FileAppearance(colours), least_score=0.5).detect([striped()] * 3)
    assert version == "7"
    for each in found:
        assert each.embeddings is not None
        assert each.embeddings.any(axis=1).tolist() == [True, False]
    nothing = embedded(FileAppearance(colours), striped(), Detections.empty(), 0.5)
    assert nothing.embeddings is not None
    assert nothing.embeddings.shape == (0, 3)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])],
        "none",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(InvalidInputError, match=r"expected \[n, 3, H, W\] to \[n, d\]"):
        FileAppearance(tmp_path / "x.onnx")
    with pytest.raises(InvalidInputError, match="No such file"):
        FileAppearance(tmp_path / "none.onnx")
