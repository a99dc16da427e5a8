"""When a stream that cannot be opened makes the server load the model anew: never under the others without need."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from pathcast.core import InvalidInputError, ServiceUnavailableError
from pathcast.core.errors import ModelProcessEndedError, PathcastError
from pathcast.serving import stream_client
from pathcast.serving.model_metadata import SequenceStep
from pathcast.serving.stream_client import StreamClient
from pathcast.serving.triton_client import TritonClient

PIXELS = np.zeros((8, 8, 3), np.uint8)


class Server:
    """A Triton whose answers to requests are given errors, one after the other."""

    def __init__(self, *errors: PathcastError) -> None:
        self.errors, self.repaired = list(errors), 0
        self.steps: list[SequenceStep] = []

    def infer(self, *_: object, sequence: SequenceStep, **__: object) -> SimpleNamespace:
        self.steps.append(sequence)
        if self.errors:
            raise self.errors.pop(0)
        return SimpleNamespace(outputs={"observation": np.array(b"seen", object)})

    def repair(self, model: str) -> bool:
        self.repaired += 1
        return True

    def close(self) -> None:
        return None


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    def serve(*errors: PathcastError) -> Server:
        server = Server(*errors)
        monkeypatch.setattr(stream_client, "TritonClient", lambda *_, **__: server)
        monkeypatch.setattr(stream_client, "decode_observation", lambda value: value)
        return server

    return serve


def test_a_dead_process_is_replaced_when_a_stream_begins(serve: Any) -> None:
    server = serve(ModelProcessEndedError("Stub process 'mot_0_0' is not healthy."))
    with StreamClient("nowhere") as stream:
        assert stream.send(PIXELS) == b"seen"
    assert server.repaired == 1


def test_a_server_that_is_slow_or_lacks_the_detector_is_left_alone(serve: Any) -> None:
    server = serve(ServiceUnavailableError("DEADLINE_EXCEEDED"))
    with StreamClient("nowhere") as stream:
        with pytest.raises(ServiceUnavailableError, match="DEADLINE_EXCEEDED"):
            stream.send(PIXELS)
        assert server.repaired == 0
        assert stream.send(PIXELS) == b"seen"


@pytest.mark.parametrize("error", [InvalidInputError("no JPEG"), ServiceUnavailableError("DEADLINE_EXCEEDED")])
def test_a_stream_that_did_not_begin_is_ended_all_the_same(serve: Any, error: PathcastError) -> None:
    """The server holds a place for it from the first request on."""
    server = serve(error)
    with StreamClient("nowhere") as stream, pytest.raises(type(error)):
        stream.send(PIXELS)
    assert [(step.start, step.end) for step in server.steps] == [(True, False), (False, True)]
    server.steps.clear()
    with StreamClient("nowhere"):
        pass
    assert server.steps == []


NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "frame", "captured_at", "message"),
    [
        ({"fps": 0.0}, PIXELS, None, "fps: expected a positive number, got 0.0"),
        ({"fps": float("inf")}, PIXELS, None, "fps: expected a positive number, got inf"),
        ({"fps": "25"}, PIXELS, None, "fps: expected a positive number, got '25'"),
        ({"camera": "gate"}, PIXELS, None, "camera: expected a Camera, got str"),
        ({}, None, None, "frame: .*got NoneType"),
        ({}, [[0]], None, "frame: .*got list"),
        ({}, PIXELS[0], None, "frame: .*got uint8 of "),
        ({}, PIXELS, 1.5, "captured_at: expected a datetime, got float"),
        ({}, PIXELS, NOON.replace(tzinfo=None), "captured_at: expected an aware UTC time"),
        ({}, PIXELS, NOON.replace(year=2400), "captured_at: expected a time from 1970 to 2261"),
    ],
)
def test_what_cannot_be_meant_is_told_before_it_is_sent(
    serve: Any, options: dict[str, Any], frame: Any, captured_at: Any, message: str
) -> None:
    server = serve()
    with pytest.raises(InvalidInputError, match=message), StreamClient("nowhere", **options) as stream:
        stream.send(frame, captured_at)
    assert server.steps == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_jpeg_is_any_bytes(serve: Any, kind: type) -> None:
    serve()
    with StreamClient("nowhere") as stream:
        assert stream.send(kind(b"jpeg"), NOON) == b"seen"


@pytest.mark.parametrize(
    ("message", "ended"),
    [
        ("Stub process 'mot_0_0' is not healthy.", True),
        ("the frame is lost: model detector: Stub process 'detector_0_0' is not healthy.", False),
        ("the request timed out", False),
    ],
)
def test_a_process_that_ended_is_told_from_another_models(
    message: str, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InferenceServerException(message, status="StatusCode.UNAVAILABLE")

    with TritonClient("127.0.0.1:1") as client:
        monkeypatch.setattr(client, "_check_inputs", lambda *_: None)
        monkeypatch.setattr(client, "_infer_inline", fail)
        with pytest.raises(ServiceUnavailableError) as caught:
            client.infer("mot", {"pixels": PIXELS[None]})
    assert isinstance(caught.value, ModelProcessEndedError) is ended
