"""What `pathcast bench mot` times, with the server's clients replaced by ones that note what they are asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pathcast.serving.blocks import BLOCK
from pathcast.serving.model_metadata import Inference
from pathcast.serving.mot import benchmark
from pathcast.serving.mot.benchmark import WARM_UP, measure_latencies

DUE = {12: 9, 14: 3}
"""Tracks that are due, by the frame's number."""


class Clients:
    """Both kinds of client; `asked` are the calls in order, a frame's number with those that stream.

    `now` is a clock of seconds, by which a streamed JPEG takes 4, streamed pixels 2 and any model alone 1.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.now = 0.0

    def stream(self, address: str, **options: Any) -> Any:
        sent = iter(range(100))

        def send(frame: Any, moment: Any) -> Any:
            number = next(sent)
            self.now += 4 if isinstance(frame, bytes) else 2
            self.asked.append(("jpeg" if isinstance(frame, bytes) else "pixels", number))
            return SimpleNamespace(forecasts=(None,) * DUE.get(number, 0))

        return _Open(send=send)

    def plain(self, address: str, **options: Any) -> Any:
        def infer(model: str, inputs: Any) -> Inference:
            self.now += 1
            self.asked.append((model, *(len(values) for values in inputs.values())))
            boxes = np.array([[[0, 0, 8, 8]]], np.float32)
            return Inference({"boxes": boxes, "scores": np.ones((1, 1)), "classes": np.zeros((1, 1), np.int64)}, "1")

        images = SimpleNamespace(shape=(-1, 8, 8, 3))
        return _Open(infer=infer, metadata=lambda model: SimpleNamespace(inputs={"images": images}))


class _Open(SimpleNamespace):
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    clients = Clients()
    monkeypatch.setattr(benchmark, "StreamClient", clients.stream)
    monkeypatch.setattr(benchmark, "TritonClient", clients.plain)
    return clients


def test_the_models_are_asked_alone_for_what_the_endpoint_does(clients: Clients) -> None:
    shown = []
    decoded = []
    images = [np.full((8, 8, 3), 10 * number, np.uint8) for number in range(WARM_UP + 6)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "letterbox", lambda image, out: shown.append(int(image[0, 0, 0])))
        real = benchmark.cv2.imdecode
        patch.setattr(benchmark.cv2, "imdecode", lambda *given: decoded.append(1) or real(*given))
        rounds = measure_latencies("nowhere", images, 7.0, 2, lambda: None)
    assert [len(each.jpeg) for each in rounds] == [6, 6]
    assert all(
        (getattr(each, name) > 0).all() for each in rounds for name in ("requests", "pixels_alone", "jpeg_alone")
    )
    before, later = clients.asked[: 2 * len(images)], clients.asked[2 * len(images) :]
    assert before == [(kind, number) for number in range(len(images)) for kind in ("pixels", "jpeg")]
    assert len(decoded) == 2 * len(images)  # once alone in each round; the endpoint decodes elsewhere
    assert later.count(("detector", 1)) == 2 * 3 * len(images)
    # Nine tracks take two blocks, three one; each of the three ways alone asks the forecaster right after the detector.
    for rows in (2 * BLOCK, BLOCK):
        places = [place for place, call in enumerate(later) if call == ("forecaster", rows, rows)]
        assert len(places) == 2 * 3
        assert all(later[place - 1] == ("detector", 1) for place in places)
    assert sum(call[0] == "forecaster" for call in later) == 2 * 3 * len(DUE)
    for kind in ("pixels", "jpeg"):
        assert [call[1] for call in later if call[0] == kind] == [*range(len(images))] * 2


def test_every_round_has_orders_of_its_own(clients: Clients) -> None:
    images = [np.zeros((8, 8, 3), np.uint8)] * (WARM_UP + 2)
    measure_latencies("nowhere", images, 7.0, 2, lambda: None)
    rounds = clients.asked[2 * len(images) :]
    half = len(rounds) // 2
    assert rounds[:half] != rounds[half:]
    assert sorted(rounds[:half]) == sorted(rounds[half:])


def test_each_figure_is_of_its_own_call(clients: Clients) -> None:
    def decode(*given: Any) -> np.ndarray:
        clients.now += 8
        return np.zeros((8, 8, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "time", SimpleNamespace(perf_counter=lambda: clients.now))
        patch.setattr(benchmark.cv2, "imdecode", decode)
        images = [np.zeros((8, 8, 3), np.uint8)] * (WARM_UP + 6)
        (measured,) = measure_latencies("nowhere", images, 7.0, 1, lambda: None)
    due = np.array([number in DUE for number in range(WARM_UP, len(images))])
    expected = {"requests": 1 + due, "pixels_alone": 1 + due, "jpeg_alone": 9 + due, "pixels": 2, "jpeg": 4}
    for name, seconds in expected.items():
        np.testing.assert_array_equal(getattr(measured, name), 1e3 * np.broadcast_to(seconds, len(due)), name)
