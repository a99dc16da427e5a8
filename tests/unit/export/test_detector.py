from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.parity import BOX_TOLERANCE_PX, SCORE_TOLERANCE, check_parity
from pathcast.detection.served_weights import read_served
from pathcast.detection.settings import SIZES
from pathcast.detection.weights import load_yolox
from pathcast.detection.yolox_import import read_yolox
from pathcast.export.detector import compare, in_order_of, to_served_onnx

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def test_published_weights_in_keras_give_what_the_published_file_gives(tmp_path: Path) -> None:
    path, video = DATA / "models" / "yolox_nano.onnx", DATA / "pets09_s2l1" / "vtest.avi"
    if not (path.is_file() and video.is_file()):
        pytest.skip(f"{path} or {video} is not there (PATHCAST_DATA names the data folder)")
    capture = cv2.VideoCapture(str(video))
    frames = []
    for index in range(0, 720, 120):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        frames.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    source = read_yolox(path)
    settings = replace(SIZES["nano"], normalised=False)
    network = load_yolox(source.model.graph, settings)
    served = to_served_onnx(network)
    onnx.save(served, str(tmp_path / "model.onnx"))
    again, read = read_served(tmp_path / "model.onnx")
    assert read == settings
    for wanted, got in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)
    # Batches differ in the last bits between sizes here and there; boxes and scores must not.
    parity = check_parity(source, served.SerializeToString(), frames, "vtest.avi")
    assert parity.frames == 6
    assert parity.max_box_difference_px <= BOX_TOLERANCE_PX
    assert parity.max_score_difference <= SCORE_TOLERANCE
    outputs = {value.name: value.type.tensor_type for value in served.graph.output}
    assert list(outputs) == ["boxes", "scores", "classes"]
    assert outputs["classes"].elem_type == onnx.TensorProto.INT64
    assert [size.dim_value for size in outputs["boxes"].shape.dim][1:] == [300, 4]
    given = served.graph.input[0]
    assert given.name == "images"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [size.dim_value for size in given.type.tensor_type.shape.dim][1:] == [416, 416, 3]
    assert np.isfinite(parity.max_box_difference_px)


def answer(scores: list[float], places: list[float], classes: list[int]) -> dict[str, np.ndarray]:
    boxes = np.array([[[place, place, place + 8, place + 8] for place in places]], np.float32)
    return {"boxes": boxes, "scores": np.array([scores], np.float32), "classes": np.array([classes], np.int64)}


def test_the_order_of_nearly_equal_scores_is_no_difference() -> None:
    expected = answer([0.5, 0.2, 0.19999, 1e-4], [10, 30, 50, 70], [0, 0, 0, 0])
    swapped = answer([0.5, 0.20001, 0.2, 2e-4], [10.01, 50, 30, 90], [0, 0, 0, 2])
    arranged = in_order_of(expected, swapped)
    np.testing.assert_allclose(arranged["boxes"][0, :3], expected["boxes"][0, :3], atol=0.011)
    np.testing.assert_allclose(arranged["scores"][0], [0.5, 0.2, 0.20001, 2e-4], atol=1e-7)
    np.testing.assert_array_equal(arranged["classes"], expected["classes"])


def frames_of(folder: Path, count: int) -> LabelledImages:
    """Frames on which nothing is labelled."""
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), number, np.uint8))
    return LabelledImages(folder, tuple(LabelledImage(f"{number}.png", 64, 48) for number in range(count)))


def compared(got: dict[str, np.ndarray], frames: LabelledImages) -> dict[str, float]:
    """`got` beside what it should be, on all frames but the first, where it is right."""
    right = {**answer([0.5, 0.2], [10, 30], [0, 0]), "embeddings": np.full((1, 2, 4), 0.5, np.float32)}
    other = lambda images: {**right, **got} if images[0, 0, 0, 0] else right  # noqa: E731
    return compare(lambda images: right, other, frames, (64, 48))


def test_without_labels_and_differences_nothing_differs(tmp_path: Path) -> None:
    same = {"box_difference_px": 0.0, "score_difference": 0.0, "embedding_difference": 0.0}
    assert compared({}, frames_of(tmp_path, 2)) == same


def test_appearance_vectors_are_compared(tmp_path: Path) -> None:
    turned = np.array([[[0.5] * 4, [0.5, 0.5, 0.5, -0.5]]], np.float32)
    assert compared({"embeddings": turned}, frames_of(tmp_path, 3))["embedding_difference"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["boxes", "scores", "embeddings"])
@pytest.mark.parametrize("row", [0, 1])
def test_what_is_not_a_number_is_a_difference(name: str, row: int, tmp_path: Path) -> None:
    # The second row is weaker than what is compared box by box.
    wrong = {**answer([0.5, 1e-4], [10, 30], [0, 0]), "embeddings": np.full((1, 2, 4), 0.5, np.float32)}
    wrong[name][0, row] = np.nan
    assert np.isnan(list(compared(wrong, frames_of(tmp_path, 3)).values())).any()


def test_no_frames_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected real frames to compare on, got none"):
        compared({}, frames_of(tmp_path, 0))


@pytest.mark.parametrize("other", [answer([0.5, 0.2], [10, 30], [0, 2]), answer([0.5, 0.2], [10, 50], [0, 0])])
def test_another_class_or_box_is_a_difference(other: dict[str, np.ndarray]) -> None:
    expected = answer([0.5, 0.2], [10, 30], [0, 0])
    arranged = in_order_of(expected, other)
    assert np.abs(arranged["boxes"] - expected["boxes"]).max() == pytest.approx(20)
