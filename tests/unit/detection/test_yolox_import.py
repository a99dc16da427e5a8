from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.detection.parity import Parity, check_parity, noise_frames
from pathcast.detection.postprocess import to_detections
from pathcast.detection.preprocess import letterbox
from pathcast.detection.settings import TOP_K
from pathcast.detection.yolox_import import read_yolox, to_served
from tests.support.yolox import tiny_yolox


def run(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = ["boxes", "scores", "classes"]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def test_decodes_the_grid_by_hand_computed_values(tmp_path: Path) -> None:
    cells = 12 * 8 + 6 * 4 + 3 * 2
    raw = np.zeros((cells, 85))
    # Second row, third column of stride 8; a bus with COCO id 5, and a stronger class that is not served.
    raw[12 + 2, :5] = [0.5, 0.25, np.log(2), np.log(4), 0.8]
    raw[12 + 2, 5 + 5] = 0.5
    raw[12 + 2, 5 + 60] = 0.9
    # First cell of stride 32; a person.
    raw[12 * 8 + 6 * 4, :5] = [0.5, 0.5, 0, 0, 0.9]
    raw[12 * 8 + 6 * 4, 5] = 1
    served = to_served(read_yolox(tiny_yolox(tmp_path / "tiny.onnx", raw=raw)), top_k=5)
    out = run(served, np.zeros((3, 64, 96, 3), np.uint8))
    assert {name: array.shape for name, array in out.items()} == {
        "boxes": (3, 5, 4),
        "scores": (3, 5),
        "classes": (3, 5),
    }
    np.testing.assert_allclose(out["scores"][2, :3], [0.9, 0.4, 0], atol=1e-7)
    np.testing.assert_array_equal(out["classes"][2, :2], [0, 4])
    np.testing.assert_allclose(out["boxes"][2, :2], [[0, 0, 32, 32], [12, -6, 28, 26]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": 12}, r"expected \[1, 126, 85\].*got \[1, 126, 12\]"),
        ({"rows": 100}, r"expected \[1, 126, 85\].*got \[1, 100, 85\]"),
        ({"channels": 1}, r"expected FLOAT \[1, 3, height, width\], got FLOAT \[1, 1, 64, 96\]"),
        ({"size": (64, 72), "rows": 9}, r"divisible by 32, got \[1, 3, 64, 72\]"),
    ],
)
def test_refuses_other_models(tmp_path: Path, change: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_yolox(tiny_yolox(tmp_path / "other.onnx", **change))


def test_refuses_what_is_no_onnx(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(InvalidInputError, match="not a valid ONNX file"):
        read_yolox(tmp_path / "text.onnx")
    with pytest.raises(InvalidInputError, match="no such file"):
        read_yolox(tmp_path / "missing.onnx")


@pytest.mark.parametrize("top_k", [0, 127])
def test_refuses_more_boxes_than_cells(tmp_path: Path, top_k: int) -> None:
    with pytest.raises(InvalidInputError, match="expected 1 to 126"):
        to_served(read_yolox(tiny_yolox(tmp_path / "tiny.onnx")), top_k=top_k)


def test_an_input_of_few_cells_is_served_whole(tmp_path: Path) -> None:
    served = to_served(read_yolox(tiny_yolox(tmp_path / "tiny.onnx")))
    assert run(served, np.zeros((1, 64, 96, 3), np.uint8))["scores"].shape == (1, 126)


@pytest.mark.parametrize(
    ("column", "value", "message"), [(0, 200.0, "raw offsets"), (5, 3.0, r"probabilities in \[0, 1\]")]
)
def test_refuses_decoded_or_unsquashed_outputs(tmp_path: Path, column: int, value: float, message: str) -> None:
    raw = np.zeros((126, 85))
    raw[:, column] = value
    raw[:, 1] = raw[:, 0]
    original = read_yolox(tiny_yolox(tmp_path / "tiny.onnx", raw=raw))
    served = to_served(original, top_k=5).SerializeToString()
    with pytest.raises(InvalidInputError, match=message):
        check_parity(original, served, noise_frames(1), "noise")


def test_served_nano_keeps_the_original_on_real_frames(yolox_path: Path, real_frames: list[np.ndarray]) -> None:
    original = read_yolox(yolox_path)
    model = to_served(original)
    parity = check_parity(original, model.SerializeToString(), real_frames, "video")
    parity.require()
    assert parity.max_box_difference_px < 1e-3
    assert parity.max_score_difference < 1e-5  # its first convolution sums in another order
    batch = np.empty((len(real_frames), 416, 416, 3), np.uint8)
    fits = [letterbox(frame, row) for frame, row in zip(real_frames, batch, strict=True)]
    out = run(model, batch)
    assert out["boxes"].shape == (len(real_frames), TOP_K, 4)
    for row, fit in enumerate(fits):
        found = to_detections(out["boxes"][row], out["scores"][row], out["classes"][row], fit, score_threshold=0.4)
        assert (found.class_ids == 0).any(), "someone walks through every one of these frames"


def test_a_served_model_of_other_weights_fails_the_gate(yolox_path: Path) -> None:
    original = read_yolox(yolox_path)
    changed = onnx.ModelProto()
    changed.CopyFrom(original.model)
    tensor = next(item for item in changed.graph.initializer if item.name == "head.reg_preds.0.bias")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.01), tensor.name))
    other = type(original)(changed, original.input_name, original.output_name, original.width, original.height)
    parity = check_parity(original, to_served(other).SerializeToString(), noise_frames(1), "noise")
    with pytest.raises(GateFailedError, match="differs from its source"):
        parity.require()


def test_batches_that_differ_fail_the_gate() -> None:
    with pytest.raises(GateFailedError, match="exact batches"):
        Parity(1, "noise", 0.0, 0.0, batch_identical=False).require()
