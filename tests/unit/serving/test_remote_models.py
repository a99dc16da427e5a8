from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import numpy as np
import pytest

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.serving.model_metadata import Inference, ModelMetadata, TensorSpec
from pathcast.serving.remote_models import RemoteDetector, RemoteForecaster, require_fit


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


class ResizedServer:
    """A detector of images of `side` pixels that finds nothing."""

    side = 32

    def metadata(self, model: str) -> ModelMetadata:
        return ModelMetadata(model, ("1",), {"images": TensorSpec("UINT8", (-1, self.side, self.side, 3))}, {})

    def infer(self, model: str, inputs: dict[str, UInt8Array]) -> Inference:
        if inputs["images"].shape[1:] != (self.side, self.side, 3):
            raise InvalidInputError("unexpected shape")
        shape = (len(inputs["images"]), 0)
        outputs = {"boxes": np.empty((*shape, 4), np.float32), "scores": np.empty(shape, np.float32)}
        return Inference({**outputs, "classes": np.empty(shape, np.int64)}, str(self.side))


def test_a_detector_goes_on_with_a_version_of_another_size() -> None:
    server = ResizedServer()
    detector = RemoteDetector(server)  # type: ignore[arg-type]
    for side in (32, 64, 32):
        server.side = side
        assert detector.detect([np.zeros((48, 48, 3), np.uint8)])[1] == str(side)


class SwitchingServer:
    """Models whose version is the newest of `switches`: how many requests come before each is loaded."""

    def __init__(self, *switches: int) -> None:
        self._switches = switches
        self.asked = 0

    def ready(self, model: str) -> bool:
        return True

    def metadata(self, model: str) -> ModelMetadata:
        return ModelMetadata(model, ("1",), {"images": TensorSpec("UINT8", (-1, 32, 32, 3))}, {})

    def infer(self, model: str, inputs: dict[str, UInt8Array]) -> Inference:
        version = 1 + sum(self.asked >= switch for switch in self._switches)
        self.asked += 1
        shape = (len(next(iter(inputs.values()))), version)
        outputs = {
            "boxes": np.tile(np.array([0, 0, 8, 8], np.float32), (shape[0], 1, 1)),
            "scores": np.full((shape[0], 1), 0.5, np.float32),
            "classes": np.zeros((shape[0], 1), np.int64),
            "embeddings": np.ones((shape[0], 1, version), np.float32),
            "paths": np.ones((*shape, 12, 2), np.float32),
            "log_probs": np.zeros(shape, np.float32),
        }
        return Inference(outputs, str(version))


@pytest.mark.parametrize(("switches", "version", "asked"), [((), "1", 2), ((1,), "2", 4), ((1, 3), "3", 6)])
def test_an_answer_is_of_one_version(switches: tuple[int, ...], version: str, asked: int) -> None:
    """Also where another one is loaded between two of its requests."""
    server = SwitchingServer(*switches)
    found, said = RemoteDetector(server, max_batch=2).detect([np.zeros((32, 32, 3), np.uint8)] * 3)  # type: ignore[arg-type]
    assert (said, server.asked) == (version, asked)
    looks = [each.embeddings for each in found]
    assert [each.shape for each in looks if each is not None] == [(1, int(version))] * 3

    server = SwitchingServer(*switches)
    observed = np.zeros((3, 8, 2), np.float32)
    ahead = RemoteForecaster(server, max_batch=2).forecast(observed, observed)  # type: ignore[arg-type]
    assert (ahead.model_version, ahead.paths.shape, server.asked) == (version, (3, int(version), 12, 2), asked)


def test_a_model_that_changes_with_every_try_is_waited_for() -> None:
    detector = RemoteDetector(SwitchingServer(1, 3, 5), max_batch=2)  # type: ignore[arg-type]
    with pytest.raises(ServiceUnavailableError, match="expected answers of one version, got 3 and 4, 3 times"):
        detector.detect([np.zeros((32, 32, 3), np.uint8)] * 3)
    assert RemoteDetector(SwitchingServer()).detect([]) == ([], "")  # type: ignore[arg-type]
