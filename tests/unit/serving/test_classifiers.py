from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.classifier_file import picture_of, write_classifier

from pathcast.core.errors import InvalidInputError
from pathcast.serving.classifiers import BATCH, FileClassifier, RemoteClassifier
from pathcast.serving.model_metadata import Inference, ModelMetadata, TensorSpec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "signs.onnx")


class _Served:
    """The file as Triton would serve it; remembers the size of each request."""

    def __init__(self, file: Path, **changes: TensorSpec) -> None:
        self._file, self.requests = FileClassifier(file), []
        self._tensors = {
            "images": TensorSpec("UINT8", (-1, 48, 48, 3)),
            "probabilities": TensorSpec("FP32", (-1, 43)),
            **changes,
        }

    def metadata(self, model: str) -> ModelMetadata:
        given, answer = self._tensors["images"], self._tensors["probabilities"]
        return ModelMetadata(model, ("1",), {"images": given}, {"probabilities": answer})

    def infer(self, model: str, inputs: Mapping[str, Any]) -> Inference:
        self.requests.append(len(inputs["images"]))
        return Inference({"probabilities": self._file.classify(inputs["images"])[0]}, "7")

    def ready(self, model: str) -> bool:
        return True


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1])
def test_any_number_of_images_from_a_file_and_from_a_server(file: Path, count: int) -> None:
    images = (
        np.stack([picture_of(number % 43) for number in range(count)]) if count else np.zeros((0, 48, 48, 3), np.uint8)
    )
    here, version = FileClassifier(file).classify(images)
    assert here.shape == (count, 43)
    assert here.argmax(axis=1).tolist() == [number % 43 for number in range(count)]
    assert len(version) == 12
    served = _Served(file)
    there, remote_version = RemoteClassifier(served, "signs").classify(images)
    assert np.array_equal(here, there)
    assert served.requests == [BATCH] * (count // BATCH) + [1] * (count % BATCH)
    assert remote_version == ("7" if count else "")


def test_answers_are_of_one_version_whatever_classes_it_has(tmp_path: Path, file: Path) -> None:
    served = _Served(file)
    remote, newer = (
        RemoteClassifier(served, "signs"),
        FileClassifier(write_classifier(tmp_path / "new.onnx", classes=44)),
    )

    def infer(model: str, inputs: Mapping[str, Any]) -> Inference:
        served.requests.append(len(inputs["images"]))
        said = (newer if len(served.requests) > 1 else served._file).classify(inputs["images"])[0]
        return Inference({"probabilities": said}, str(min(len(served.requests), 2)))

    served.infer = infer  # type: ignore[method-assign]
    probabilities, version = remote.classify(np.stack([picture_of(3)] * (BATCH + 1)))
    assert (probabilities.shape, version) == ((BATCH + 1, 44), "2")


def test_sizes_are_the_models_own(tmp_path: Path) -> None:
    found = FileClassifier(write_classifier(tmp_path / "few.onnx", classes=4, side=32))
    assert (found.side, found.classes, found.model) == (32, 4, "few")


@pytest.mark.parametrize(
    "tensors",
    [
        {"images": TensorSpec("FP32", (-1, 48, 48, 3))},
        {"images": TensorSpec("UINT8", (-1, 48, 40, 3))},
        {"images": TensorSpec("UINT8", (-1, 3, 48, 48))},
        {"probabilities": TensorSpec("FP32", (-1, 43, 2))},
    ],
)
def test_a_model_of_another_kind_is_told(file: Path, tensors: dict[str, TensorSpec]) -> None:
    with pytest.raises(InvalidInputError, match=r"model signs: expected images UINT8 \[n, side, side, 3\]"):
        RemoteClassifier(_Served(file, **tensors), "signs")


def test_a_file_that_is_no_classifier_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        FileClassifier(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(InvalidInputError, match="not a model that onnxruntime loads"):
        FileClassifier(tmp_path / "broken.onnx")
