"""The published YOLOX-nano and frames of a real camera, from the data folder."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

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
