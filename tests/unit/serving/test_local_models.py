from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.yolox_import import read_yolox, to_served
from pathcast.serving import local_models
from pathcast.serving.local_models import FileDetector, open_session
from tests.support.yolox import tiny_yolox


def same(one: list, other: list) -> bool:
    return all(
        left.xyxy.tobytes() + left.scores.tobytes() == right.xyxy.tobytes() + right.scores.tobytes()
        for left, right in zip(one, other, strict=True)
    )


def test_a_published_yolox_looks_at_each_image_in_an_input_of_its_shape(
    yolox_path: Path, real_frames: list[np.ndarray], tmp_path: Path
) -> None:
    frame = real_frames[0]
    shapes = {"whole": frame, "wide": frame[:288], "tall": frame[:, :320]}
    published = FileDetector(yolox_path)
    together, _ = published.detect(list(shapes.values()))
    source = read_yolox(yolox_path)
    for (name, image), found in zip(shapes.items(), together, strict=True):
        fitted = source.fitted_to(image.shape[1], image.shape[0])
        onnx.save(to_served(fitted), str(tmp_path / f"{name}.onnx"))
        served = FileDetector(tmp_path / f"{name}.onnx")
        assert len(found)
        assert same([found], served.detect([image])[0])
        served.close()
    assert same(together, [published.detect([image])[0][0] for image in shapes.values()])
    published.close()


def test_weights_in_a_file_of_their_own_are_found_beside_the_model(yolox_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "parted.onnx"
    model = to_served(read_yolox(yolox_path))
    onnx.save_model(model, str(path), save_as_external_data=True, location="parted.weights")
    assert (tmp_path / "parted.weights").stat().st_size > path.stat().st_size
    detector = FileDetector(path)
    assert len(detector.detect([np.zeros((90, 160, 3), np.uint8)])[0]) == 1
    detector.close()


def test_each_shape_has_one_session_and_the_last_few_are_kept(
    yolox_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = FileDetector(yolox_path)
    made: list[list[int]] = []

    def counted(path: Path, content: bytes, threads: int = 1) -> Any:
        session = open_session(path, content, threads)
        made.append(session.get_inputs()[0].shape[1:3])
        return session

    monkeypatch.setattr(local_models, "open_session", counted)
    monkeypatch.setattr(local_models, "_KEPT_SESSIONS", 2)
    wide, square, tall = (np.zeros(shape, np.uint8) for shape in ((90, 160, 3), (90, 90, 3), (160, 90, 3)))
    detector.detect([wide] * 4 + [square] * 4)
    assert made == [[256, 416], [416, 416]]
    detector.detect([tall])
    detector.detect([square, tall])
    assert made[2:] == [[416, 256]]
    detector.detect([wide])
    assert made[3:] == [[256, 416]]
    detector.close()


def test_what_a_cut_input_says_has_a_version_of_its_own(yolox_path: Path) -> None:
    digest = hashlib.sha256(yolox_path.read_bytes()).hexdigest()[:12]
    published = FileDetector(yolox_path)
    assert published.version == f"{digest}-fitted"
    published.close()


def test_a_yolox_bound_to_its_input_is_asked_as_it_is(tmp_path: Path) -> None:
    raw = np.zeros((126, 85))
    raw[3, :6] = [0.5, 0.5, 0, 0, 0.9, 1]
    detector = FileDetector(tiny_yolox(tmp_path / "bound.onnx", raw=raw))
    (found,), _ = detector.detect([np.zeros((64, 192, 3), np.uint8)])
    np.testing.assert_allclose(found.xyxy, [[48, 0, 64, 16]], atol=1e-3)
    detector.close()


def test_an_image_so_narrow_that_it_has_few_cells_is_looked_at(yolox_path: Path) -> None:
    detector = FileDetector(yolox_path)
    ((found,), _) = detector.detect([np.full((8, 900, 3), 114, np.uint8)])
    assert len(found) == 0
    with pytest.raises(InvalidInputError, match="at least 1x1 pixel"):
        detector.detect([np.zeros((0, 5, 3), np.uint8)])
    detector.close()
