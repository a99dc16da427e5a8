"""A client of the endpoint `mot`: frames in, one after the other; what the platform sees in them out."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.clock import Clock, SystemClock, to_nanoseconds
from pathcast.core.errors import InvalidInputError, ModelProcessEndedError, PathcastError, ServiceUnavailableError
from pathcast.core.frame import check_utc
from pathcast.core.observation import Observation
from pathcast.messaging.observation_codec import decode_observation
from pathcast.serving.model_metadata import SequenceStep, random_sequence
from pathcast.serving.triton_client import TritonClient

_OPTIONAL_INPUTS = ("jpeg", "pixels", "camera", "client")
_FIRST_YEAR, _LAST_YEAR = 1970, 2261
_OVER = ("must specify the START flag", "it is not open")


class StreamClient:
    """One stream of frames to the Triton server at `address` ("host:port" of its gRPC service).

    Identities last as long as the stream: from the first `send` to `close`, or until the server has heard
    nothing for a minute. Streams never see each other, however many there are; a thread needs its own.

    With a calibrated `camera` positions are in metres, else in frame heights. `fps` gives frames without a
    time of their own one that is counted from the first; without it they are taken to be captured when they
    are sent. `shared_memory` saves copies where client and server share a host and frames are arrays.
    """

    def __init__(
        self,
        address: str,
        *,
        camera: Camera | None = None,
        fps: float | None = None,
        model: str = "mot",
        shared_memory: bool = False,
        timeout_s: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        if fps is not None and not (isinstance(fps, int | float) and 0 < fps < float("inf")):
            raise InvalidInputError(
                f"fps: expected a positive number, got {fps!r}",
                hint="a source that does not tell its rate, as 0: leave fps out, or give the true one",
            )
        if camera is not None and not isinstance(camera, Camera):
            raise InvalidInputError(
                f"camera: expected a Camera, got {type(camera).__name__}", hint='Camera("gate"), or read_camera_file'
            )
        self.sequence_id = random_sequence()
        self._client = TritonClient(address, shared_memory=shared_memory, timeout_s=timeout_s)
        self._clock = clock or SystemClock()
        self._model = model
        self._fps = fps
        self._first_at: datetime | None = None
        self._sent = 0
        self._asked = self._started = self._closed = False
        # With it the server knows a stranger who happens upon the same sequence id.
        self._sender = {"client": _text(secrets.token_hex(8).encode())}
        self._opening = {} if camera is None else {"camera": _text(msgspec.json.encode(camera.as_mapping()))}

    def send(
        self, frame: bytes | bytearray | memoryview | UInt8Array, captured_at: datetime | None = None
    ) -> Observation:
        """What is seen in the next frame: a JPEG's bytes, or pixels (h, w, 3) uint8 RGB.

        `captured_at` is aware UTC and later than the frame's before.

        Raises InvalidInputError for a frame that cannot be read, and ServiceUnavailableError where the server or
        a model does not answer: the frame is lost, and the stream goes on with the next one. Where the message
        says that the stream is over, a new StreamClient is needed, and identities start again.
        """
        if self._closed:
            raise PathcastError("the stream is closed", hint="open a new StreamClient")
        moment = self._moment() if captured_at is None else _checked(captured_at)
        self._sent += 1
        inputs = {"captured_at": np.array([[to_nanoseconds(moment)]], np.int64), **_frame(frame)}
        answer = self._request(inputs) if self._started else self._start(inputs | self._opening)
        self._started = True
        return decode_observation(answer["observation"].item())

    def close(self) -> None:
        """End the stream, also one whose first frame was refused: the server holds a place for it. Twice is allowed."""
        if self._asked and not self._closed:
            with suppress(PathcastError):  # a server that is gone has forgotten the stream anyway
                self._request({"captured_at": np.zeros((1, 1), np.int64)}, end=True)
        self._closed = True
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _moment(self) -> datetime:
        if self._fps is None:
            return self._clock.now()
        if self._first_at is None:
            self._first_at = self._clock.now()
        return self._first_at + timedelta(seconds=self._sent / self._fps)

    def _start(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The first request; the server does not replace a model's process that has died, so it is told to."""
        self._asked = True
        try:
            return self._request(inputs, start=True)
        except ModelProcessEndedError:
            self._client.repair(self._model)
        return self._request(inputs, start=True)

    def _request(
        self, inputs: dict[str, NDArray[Any]], *, start: bool = False, end: bool = False
    ) -> dict[str, NDArray[Any]]:
        try:
            return self._client.infer(
                self._model,
                inputs | self._sender,
                optional=_OPTIONAL_INPUTS,
                outputs=("observation",),
                sequence=SequenceStep(self.sequence_id, start, end),
            ).outputs
        except InvalidInputError as error:
            if not any(text in error.message for text in _OVER):
                raise
            raise ServiceUnavailableError(
                f"{error.message}: the stream is over; nothing was sent for too long, or the server was restarted",
                hint="open a new StreamClient; identities start again",
            ) from error


def _checked(captured_at: datetime) -> datetime:
    """Aware UTC, of a year that nanoseconds in 64 bits reach."""
    if not isinstance(captured_at, datetime):
        raise InvalidInputError(
            f"captured_at: expected a datetime, got {type(captured_at).__name__}",
            hint="datetime.fromtimestamp(seconds, UTC)",
        )
    check_utc("captured_at", captured_at)
    if not _FIRST_YEAR <= captured_at.year <= _LAST_YEAR:
        raise InvalidInputError(
            f"captured_at: expected a time from {_FIRST_YEAR} to {_LAST_YEAR}, got {captured_at.isoformat()}"
        )
    return captured_at


def _frame(frame: bytes | bytearray | memoryview | UInt8Array) -> dict[str, NDArray[Any]]:
    if isinstance(frame, bytes | bytearray | memoryview):
        return {"jpeg": _text(bytes(frame))}
    if not isinstance(frame, np.ndarray):
        raise InvalidInputError(
            f"frame: expected the bytes of a JPEG, or uint8 of shape (h, w, 3), got {type(frame).__name__}",
            hint="at a video's end there is no frame to send",
        )
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InvalidInputError(
            f"frame: expected the bytes of a JPEG, or uint8 of shape (h, w, 3), got {frame.dtype} of {frame.shape}"
        )
    return {"pixels": frame[None]}


def _text(data: bytes) -> NDArray[Any]:
    return np.array([[data]], dtype=object)
