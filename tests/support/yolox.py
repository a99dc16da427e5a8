"""The published YOLOX-nano and frames of a real camera, from the data folder; and a file made up in their form."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pathcast.detection.grid import grid

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def yolox_path() -> Path:
    """The published YOLOX-nano, ONNX."""
    path = DATA / "models" / "yolox_nano.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not there (PATHCAST_DATA names the data folder)")
    return path


@pytest.fixture(scope="session")
def real_frames() -> list[np.ndarray]:
    """Twelve RGB frames of a real camera."""
    path = DATA / "pets09_s2l1" / "vtest.avi"
    if not path.is_file():
        pytest.skip(f"{path} is not there (PATHCAST_DATA names the data folder)")
    capture = cv2.VideoCapture(str(path))
    frames = []
    for index in range(0, 720, 60):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        read, frame = capture.read()
        assert read
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def tiny_yolox(
    path: Path,
    *,
    size: tuple[int, int] = (64, 96),
    columns: int = 85,
    rows: int | None = None,
    raw: np.ndarray | None = None,
    dtype: int = TensorProto.FLOAT,
    channels: int = 3,
) -> Path:
    """A file with YOLOX's interface that answers `raw` (rows, columns) whatever it is given."""
    height, width = size
    cells = len(grid(height, width)[1]) if rows is None else rows
    values = np.zeros((cells, columns), np.float32) if raw is None else raw.astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing"], ["nothing_3d"], axes=[1, 2]),
        helper.make_node("Add", ["nothing_3d", "values"], ["sum"]),
        helper.make_node("Reshape", ["sum", "shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", dtype, [1, channels, height, width])],
        [helper.make_tensor_value_info("output", dtype, [1, cells, columns])],
        [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(values[None], "values"),
            numpy_helper.from_array(np.array([1, cells, columns], np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    onnx.save(model, str(path))
    return path
