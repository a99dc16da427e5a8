"""Clients that stream frames to the endpoint: one session each, opened, fed, ended, or released when idle.

This is the Triton model `mot` without Triton: what a sequence is, who may feed it, and what each request is
answered. Detection is batched over the sessions of a call; tracker and forecasts belong to one session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import msgspec

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera, camera_from_mapping
from pathcast.core.clock import from_nanoseconds
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.messaging.frame_codec import check_size
from pathcast.messaging.jpeg import jpeg_size
from pathcast.serving.frame_analyzer import Detector, Duplicate, Forecaster, FrameAnalyzer
from pathcast.tracking.settings import TrackerSettings

UNNAMED_CAMERA = "stream"
_LATEST_NS = 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class StreamRequest:
    """One request of a client; a frame as `jpeg` bytes or as `pixels` (h, w, 3) RGB, or none to end a session.

    `sequence` names the session, and `client` who feeds it: any text that the client made up when it opened the
    session, "" for clients that don't say. `captured_at_ns` is the frame's time, nanoseconds UTC. `camera` is
    JSON of `Camera.as_mapping`, given with `start`, or None.
    """

    sequence: str
    start: bool
    end: bool
    client: str = ""
    captured_at_ns: int = 0
    jpeg: bytes | None = None
    pixels: UInt8Array | None = None
    camera: bytes | None = None


@dataclass(slots=True)
class _Session:
    """`key` is never used again, so that nothing of one session can reach another of the same name."""

    key: str
    camera: Camera
    client: str
    used_at: float
    frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """A frame that is to be analysed, for the request at `row`."""

    row: int
    frame: Frame
    pixels: UInt8Array | None


Answer = Observation | PathcastError | None
"""An observation, why there is none, or None to a request without a frame that ended its session."""


class StreamSessions:
    """The open sessions. Not to be shared between threads.

    A session that was not fed for `idle_limit_s` (by `clock`, seconds) is released at the next call.
    """

    def __init__(
        self,
        detector: Detector,
        forecaster: Forecaster,
        settings: TrackerSettings,
        *,
        idle_limit_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._idle_limit_s = idle_limit_s
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._cameras: dict[str, Camera] = {}
        self._opened = 0
        self._analyzer = FrameAnalyzer(
            detector, forecaster, self._cameras.__getitem__, lambda _: nullcontext(), settings
        )

    def __len__(self) -> int:
        return len(self._sessions)

    def answer(self, requests: Sequence[StreamRequest]) -> list[Answer]:
        """One answer for each request, in their order; at most one request of each session in a call.

        A request that is refused changes nothing else: its session goes on with the next frame. When a model
        does not answer, all frames of the call are refused, and count as lost.
        """
        self._release_idle()
        began = self._clock()
        answers: list[Answer] = [None] * len(requests)
        taken: list[_Taken] = []
        for row, request in enumerate(requests):
            try:
                frame = self._take(request)
            except PathcastError as error:
                answers[row] = error
                continue
            if frame is not None:
                taken.append(_Taken(row, frame, request.pixels))
        for item, answer in zip(taken, self._analyze(taken), strict=True):
            answers[item.row] = answer
        for request in requests:
            session = self._sessions.get(request.sequence)
            if request.end and session is not None and session.client == request.client:
                self._close(request.sequence)
        # Whoever has to wait for this call is not silent.
        took = self._clock() - began
        for session in self._sessions.values():
            session.used_at += took
        return answers

    def close(self) -> None:
        """End all sessions."""
        self._analyzer.close()
        self._sessions.clear()
        self._cameras.clear()

    def _take(self, request: StreamRequest) -> Frame | None:
        """The frame of a request that its session may have next."""
        session = self._session(request)
        if request.jpeg is None and request.pixels is None:
            if request.end:
                return None
            raise InvalidInputError(
                f"sequence {request.sequence}: no frame; expected the input jpeg or the input pixels"
            )
        number, session.frames = session.frames, session.frames + 1
        if request.jpeg is not None and request.pixels is not None:
            raise InvalidInputError(f"sequence {request.sequence}, frame {number}: expected jpeg or pixels, got both")
        if not 0 <= request.captured_at_ns <= _LATEST_NS:
            raise InvalidInputError(
                f"sequence {request.sequence}, frame {number}: captured_at {request.captured_at_ns}: expected "
                f"nanoseconds since 1970"
            )
        try:
            width, height = _size(request)
            moment = from_nanoseconds(request.captured_at_ns)
            return Frame(session.key, number, moment, width, height, request.jpeg or b"")
        except InvalidInputError as error:
            raise InvalidInputError(f"sequence {request.sequence}, frame {number}: {error.message}") from error

    def _session(self, request: StreamRequest) -> _Session:
        """The session that a request belongs to, opened where the request starts one."""
        session = self._sessions.get(request.sequence)
        if session is not None and session.client != request.client:
            raise InvalidInputError(
                f"sequence {request.sequence}: it belongs to another client",
                hint="open a sequence with a number of its own; random ones of 63 bits do not meet",
            )
        if request.start:
            camera = _camera(request)
            self._close(request.sequence)
            session = self._open(request, camera)
        elif session is None:
            raise InvalidInputError(
                f"sequence {request.sequence}: it is not open", hint="start it with its first frame"
            )
        session.used_at = self._clock()
        return session

    def _open(self, request: StreamRequest, camera: Camera) -> _Session:
        self._opened += 1
        session = _Session(f"session-{self._opened}", camera, request.client, self._clock())
        self._sessions[request.sequence] = session
        self._cameras[session.key] = camera
        return session

    def _close(self, sequence: str) -> None:
        session = self._sessions.pop(sequence, None)
        if session is not None:
            self._analyzer.forget(session.key)
            del self._cameras[session.key]

    def _release_idle(self) -> None:
        oldest = self._clock() - self._idle_limit_s
        for sequence in [name for name, session in self._sessions.items() if session.used_at < oldest]:
            self._close(sequence)

    def _analyze(self, taken: Sequence[_Taken]) -> list[Answer]:
        if not taken:
            return []
        try:
            outcomes = self._analyzer.analyze([item.frame for item in taken], [item.pixels for item in taken])
        except PathcastError as error:
            lost = ServiceUnavailableError(
                f"the frame is lost: {error.message}", hint=error.hint or "go on with the next frame"
            )
            return [lost] * len(taken)
        return [_answer(item, outcome) for item, outcome in zip(taken, outcomes, strict=True)]


def _answer(item: _Taken, outcome: object) -> Answer:
    if isinstance(outcome, Observation):
        return outcome
    where = f"frame {item.frame.sequence} of the sequence"
    if isinstance(outcome, Duplicate):
        return InvalidInputError(f"{where}: a frame of the same captured_at was analysed before")
    return InvalidInputError(f"{where}: {getattr(outcome, 'reason', outcome)}")


def _size(request: StreamRequest) -> tuple[int, int]:
    """(width, height) of the request's frame."""
    if request.pixels is None:
        width, height = jpeg_size(request.jpeg or b"")
    else:
        shape = request.pixels.shape
        if len(shape) != 3 or shape[2] != 3 or not shape[0] or not shape[1]:
            raise InvalidInputError(f"pixels: expected (height, width, 3) RGB, got {shape}")
        height, width, _ = shape
    check_size(width, height)
    return width, height


def _camera(request: StreamRequest) -> Camera:
    if request.camera is None:
        return Camera(UNNAMED_CAMERA)
    try:
        fields = msgspec.json.decode(request.camera, type=dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"sequence {request.sequence}: camera: not a JSON object: {error}") from error
    return camera_from_mapping(fields)
