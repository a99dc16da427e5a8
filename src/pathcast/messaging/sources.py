"""Where frames come from: a video file, an RTSP camera, a folder of images; each as a run of JPEGs."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import cv2

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.image_file import decode_image
from pathcast.core.natural_order import natural_order
from pathcast.core.video import COUNTED_SUFFIXES, IMAGE_SUFFIXES, open_capture
from pathcast.messaging.jpeg import jpeg_size

DEFAULT_QUALITY = 95
"""JPEG quality at which detections stay those of the source; about 100 kB for a frame of 768x576."""

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0  # between attempts to reach a camera
_STOP_CHECK_S = 0.2

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image. `index` counts from 0 at the beginning of the source, whatever part of it is read."""

    index: int
    width: int
    height: int
    jpeg: bytes


class Source(Protocol):
    """A run of images; iterating starts it anew.

    `fps` is the rate of a recording, which gives its images their times; None for a live camera, whose
    images are of the moment they are read. `expected` is how many images will come, as far as is known.
    """

    @property
    def fps(self) -> float | None: ...

    @property
    def expected(self) -> int | None: ...

    def __iter__(self) -> Iterator[SourceImage]: ...


class VideoFile:
    """Frames [first_frame, first_frame + frame_count) of a video file."""

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        first_frame: int = 0,
        frame_count: int | None = None,
        quality: int = DEFAULT_QUALITY,
    ) -> None:
        """`fps` overrides the rate that the file claims.

        Raises InvalidInputError where the file is missing, is not a video, or tells no rate.
        """
        if not path.is_file():
            raise InvalidInputError(f"video {path}: no such file", hint="check the path")
        self._path = path
        self._first_frame, self._quality = _checked_slice(first_frame, frame_count), _checked_quality(quality)
        self._frame_count = frame_count
        capture = self._open()
        try:
            claimed = float(capture.get(cv2.CAP_PROP_FPS))
            self._total = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        finally:
            capture.release()
        self._fps = _checked_fps(f"video {path}", fps if fps is not None else claimed)

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def expected(self) -> int:
        left = max(self._total - self._first_frame, 0)
        return left if self._frame_count is None else min(left, self._frame_count)

    def __iter__(self) -> Iterator[SourceImage]:
        """Decode in order. A file that ends early, and holds its number of frames, is logged with how many it had.

        Raises InvalidInputError where there is none to send: no frame can be decoded, or none is left to start at.
        """
        capture = self._open()
        index = 0
        try:
            while index < self._first_frame and capture.grab():
                index += 1
            stop = math.inf if self._frame_count is None else self._first_frame + self._frame_count
            while index < stop:
                decoded, image = capture.read()
                if not decoded:
                    break
                yield _encoded(index, image, self._quality)
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise InvalidInputError(f"video {self._path}: no frame could be decoded", hint="the file is damaged")
        if index <= self._first_frame:
            raise _past_the_end(f"video {self._path}", self._first_frame, index)
        if self._path.suffix.lower() in COUNTED_SUFFIXES and index < min(stop, self._total):
            _log.warning("video %s ended after %d of the %d frames it claims", self._path, index, self._total)
        else:
            _log.info("video %s: read to frame %d of %d", self._path, index, self._total)

    def _open(self) -> Any:
        capture = open_capture(self._path)
        if not capture.isOpened():
            capture.release()
            raise InvalidInputError(
                f"video {self._path}: expected a video, got {self._path.stat().st_size} bytes that do not open as one",
                hint="if it is a cut-off MP4, its index is lost with its end; AVI and MKV survive a cut",
            )
        return capture


class ImageFolder:
    """The images of a folder in the order of their names, numbers by value; JPEG files pass through as they are."""

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None,
        first_frame: int = 0,
        frame_count: int | None = None,
        quality: int = DEFAULT_QUALITY,
    ) -> None:
        """Raises InvalidInputError where the folder is missing, has no images to send, or `fps` is not given."""
        if not path.is_dir():
            raise InvalidInputError(f"image folder {path}: no such folder", hint="check the path")
        images = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir())
        found = sorted(images, key=natural_order)
        if not found:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InvalidInputError(f"image folder {path}: no images in it", hint=f"expected files of {kinds}")
        self._fps = _checked_fps(f"image folder {path}", fps)
        self._first_frame, self._quality = _checked_slice(first_frame, frame_count), _checked_quality(quality)
        last = len(found) if frame_count is None else first_frame + frame_count
        self._files = found[first_frame:last]
        if not self._files:
            raise _past_the_end(f"image folder {path}", first_frame, len(found))

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def expected(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[SourceImage]:
        """A file that is not an image is logged and left out; its index stays free, so the gap shows."""
        for index, file in enumerate(self._files, start=self._first_frame):
            try:
                yield self._read(index, file)
            except InvalidInputError as error:
                _log.error("image %s is left out: %s", file, error.message)

    def _read(self, index: int, file: Path) -> SourceImage:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"image {file}: {error.strerror}") from error
        if file.suffix.lower() in _JPEG_SUFFIXES:
            return SourceImage(index, *jpeg_size(data), data)
        image = decode_image(data, cv2.IMREAD_COLOR)
        if image is None:
            raise InvalidInputError(f"image {file}: expected an image, got {len(data)} bytes that do not decode")
        return _encoded(index, image, self._quality)


class RtspCamera:
    """A live camera; a broken connection is opened again.

    `connect_limit_s` is how long a camera may be away, at the start and later, before it counts as
    gone, infinite where it never does; `open_timeout_s` and `read_timeout_s` bound one attempt and one read.
    """

    def __init__(
        self,
        url: str,
        *,
        frame_count: int | None = None,
        quality: int = DEFAULT_QUALITY,
        open_timeout_s: float = 5.0,
        read_timeout_s: float = 5.0,
        connect_limit_s: float = 30.0,
    ) -> None:
        self._url = url
        self._shown = without_password(url)
        self._frame_count = frame_count
        self._quality = _checked_quality(quality)
        self._limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(open_timeout_s * 1_000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_timeout_s * 1_000)),
        ]
        self._connect_limit_s = connect_limit_s

    @property
    def fps(self) -> None:
        return None

    @property
    def expected(self) -> int | None:
        return self._frame_count

    def __iter__(self) -> Iterator[SourceImage]:
        """Read until `frame_count`, else for ever; ServiceUnavailableError once the camera is gone."""
        return self.until(threading.Event())

    def until(self, stop: threading.Event) -> Iterator[SourceImage]:
        """As iterating, and end soon after `stop` is set, also while the camera is away or silent."""
        index = attempts = 0
        last_image = time.monotonic()
        while True:
            capture = _unless_stopped(stop, self._open)
            while capture is not None:
                read = _unless_stopped(stop, capture.read)
                if read is None:
                    # The read still runs and needs the capture, which goes with it.
                    return
                decoded, image = read
                if not decoded:
                    _log.warning("camera %s: connection lost after %d frames", self._shown, index)
                    capture.release()
                    break
                yield _encoded(index, image, self._quality)
                index, attempts = index + 1, 0
                last_image = time.monotonic()
                if index == self._frame_count:
                    capture.release()
                    return
            if time.monotonic() - last_image > self._connect_limit_s:
                raise ServiceUnavailableError(
                    f"camera {self._shown}: no video within {self._connect_limit_s:g} s",
                    hint="check the address, the path after the host, user and password, and that the camera is on",
                )
            if not attempts:
                _log.warning("camera %s: no video; it is tried again and again", self._shown)
            if stop.wait(min(_FIRST_WAIT_S * 2 ** min(attempts, 10), _LONGEST_WAIT_S)):
                return
            attempts += 1

    def _open(self) -> Any:
        capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, self._limits)
        if capture.isOpened():
            return capture
        capture.release()
        return None


def open_source(
    address: str,
    *,
    fps: float | None = None,
    first_frame: int = 0,
    frame_count: int | None = None,
    quality: int = DEFAULT_QUALITY,
    connect_limit_s: float = 30.0,
) -> Source:
    """The source at `address`: an rtsp:// or rtsps:// URL, a folder of images, else a video file."""
    if "://" in address:
        if urlsplit(address).scheme not in ("rtsp", "rtsps"):
            raise InvalidInputError(f"source {without_password(address)}: expected rtsp://, a file or a folder")
        if first_frame or fps is not None:
            raise InvalidInputError(f"camera {without_password(address)}: a live camera has no fps and no first frame")
        return RtspCamera(address, frame_count=frame_count, quality=quality, connect_limit_s=connect_limit_s)
    path = Path(address)
    if path.is_dir():
        return ImageFolder(path, fps=fps, first_frame=first_frame, frame_count=frame_count, quality=quality)
    return VideoFile(path, fps=fps, first_frame=first_frame, frame_count=frame_count, quality=quality)


def _encoded(index: int, image: Any, quality: int) -> SourceImage:
    height, width = image.shape[:2]
    fits, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not fits:
        raise InvalidInputError(f"frame {index}: expected sides that JPEG can have, got {width} x {height} pixels")
    return SourceImage(index, width, height, data.tobytes())


def _checked_fps(name: str, fps: float | None) -> float:
    if fps is None or not math.isfinite(fps) or fps <= 0:
        raise InvalidInputError(f"{name}: expected a positive frame rate, got {fps}", hint="give it with --fps")
    return fps


def _checked_slice(first_frame: int, frame_count: int | None) -> int:
    if first_frame < 0 or (frame_count is not None and frame_count <= 0):
        raise InvalidInputError(
            f"frames: expected a first frame of 0 or more and a count of 1 or more, got {first_frame} and {frame_count}"
        )
    return first_frame


def _past_the_end(source: str, first_frame: int, frames: int) -> InvalidInputError:
    return InvalidInputError(
        f"{source}: expected a first frame of at most {frames - 1}, its last, got {first_frame}",
        hint="frames are counted from 0",
    )


def _checked_quality(quality: int) -> int:
    if not 1 <= quality <= 100:
        raise InvalidInputError(f"JPEG quality: expected 1 to 100, got {quality}")
    return quality


def without_password(text: str) -> str:
    """`text` with the user and password of every URL in it left out.

    >>> without_password("rtsp://user:pa/ss@host/live is gone")
    'rtsp://host/live is gone'
    """
    return re.sub(r"://\S*@", "://", text)


def _unless_stopped(stop: threading.Event, action: Callable[[], _Result]) -> _Result | None:
    """What `action` returns, or None once `stop` is set; the action then ends in its own time."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:
            future.set_exception(error)

    # A daemon, because neither opening nor reading a camera can be interrupted, not even at exit.
    threading.Thread(target=run, name="camera-call", daemon=True).start()
    while not stop.is_set():
        if wait([future], timeout=_STOP_CHECK_S).done:
            return future.result()
    return None
