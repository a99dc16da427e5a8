from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import numpy as np
import pytest

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.serving.model_metadata import Inference, ModelMetadata, TensorSpec
from pathcast.serving.remote_models import RemoteDetector, require_fit


@pytest.mark.parametrize(
    ("inputs", "outputs", "fits"),
    [
        (["neighbours", "observed"], ["log_probs", "paths", "more"], True),
        (["observed"], ["log_probs", "paths"], False),
        (["neighbours", "observed", "map"], ["log_probs", "paths"], False),
        (["neighbours", "observed"], ["paths"], False),
    ],
)
def test_a_model_takes_what_the_analyzer_sends_and_gives_what_it_reads(
    inputs: list[str], outputs: list[str], fits: bool
) -> None:
    class Server:
        def metadata(self, model: str) -> ModelMetadata:
            spec = TensorSpec("FP32", (-1,))
            return ModelMetadata(model, ("7",), dict.fromkeys(inputs, spec), dict.fromkeys(outputs, spec))

    with (
        nullcontext() if fits else pytest.raises(InvalidInputError, match="model ahead, version 7: expected inputs obs")
    ):
        require_fit(Server(), "forecaster", "ahead")  # type: ignore[arg-type]


class EchoServer:
    """A detector that finds one box of each image's mean brightness, once two have asked."""

    def __init__(self) -> None:
        self._both = Barrier(2, timeout=10)

    def metadata(self, model: str) -> ModelMetadata:
        return ModelMetadata(model, ("3",), {"images": TensorSpec("UINT8", (-1, 32, 32, 3))}, {})

    def infer(self, model: str, inputs: dict[str, UInt8Array]) -> Inference:
        self._both.wait()
        light = inputs["images"].mean(axis=(1, 2, 3)) / 255
        boxes = np.tile(np.array([0, 0, 8, 8], np.float32), (len(light), 1, 1))
        scores = light[:, None].astype(np.float32)
        return Inference({"boxes": boxes, "scores": scores, "classes": np.zeros((len(light), 1), np.int64)}, "3")


def test_threads_share_a_detector() -> None:
    detector = RemoteDetector(EchoServer())  # type: ignore[arg-type]
    lights = (102, 204)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda light: detector.detect([np.full((32, 32, 3), light, np.uint8)]), lights))
    assert [found[0].scores.tolist() for found, _ in answers] == [pytest.approx([light / 255]) for light in lights]
