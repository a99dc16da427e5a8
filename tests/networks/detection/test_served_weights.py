from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.model import serving_model
from pathcast.detection.served_weights import read_served
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.detection.weights import load_yolox
from pathcast.detection.yolox_import import read_yolox, to_served
from pathcast.export.parity import open_session
from pathcast.registry.shipped import FOLDER as MODELS
from pathcast.training.detector import SHIPPED as SHIPPED_SETTINGS

SHIPPED = MODELS / "detector" / "1" / "model.onnx"


def test_the_shipped_network_is_read_back(real_frames: list[np.ndarray]) -> None:
    network, settings = read_served(SHIPPED)
    assert settings == DetectorSettings(**{**SHIPPED_SETTINGS.as_mapping(), "normalised": False})
    served = serving_model(network)
    images = np.stack([cv2.resize(frame, (416, 312)) for frame in real_frames[:2]])
    images = np.pad(images, ((0, 0), (0, 8), (0, 0), (0, 0)))
    (boxes,) = open_session(SHIPPED).run(["boxes"], {"images": images})
    np.testing.assert_allclose(served(images, training=False)["boxes"][:, :20], boxes[:, :20], atol=0.05)


def test_an_imported_yolox_is_read_back(yolox_path: Path, tmp_path: Path) -> None:
    source, file = read_yolox(yolox_path), tmp_path / "model.onnx"
    onnx.save(to_served(source), str(file))
    again, settings = read_served(file)
    assert settings == DetectorSettings(**{**SIZES["nano"].as_mapping(), "normalised": False})
    expected = load_yolox(source.model.graph, settings).get_weights()
    for wanted, got in zip(expected, again.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kept", [0, 20])
def test_another_network_is_refused(tmp_path: Path, kept: int) -> None:
    served, file = onnx.load(str(SHIPPED)), tmp_path / "model.onnx"
    for node in [node for node in served.graph.node if node.op_type == "Conv"][kept:]:
        served.graph.node.remove(node)
    onnx.save(served, str(file))
    with pytest.raises(InvalidInputError, match="expected a detector of YOLOX's kind"):
        read_served(file)


@pytest.mark.parametrize("content", [None, b"no model"])
def test_no_onnx_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "model.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInputError, match="model.onnx: not an ONNX file"):
        read_served(file)
