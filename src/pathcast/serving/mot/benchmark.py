"""What the endpoint costs over the two models behind it, and whether streams at once disturb each other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame_memory import keep_frame_memory
from pathcast.core.trajectory import OBSERVED_STEPS
from pathcast.detection.preprocess import letterbox
from pathcast.forecasting.neighbours import NEIGHBOUR_VALUES, NEIGHBOURS
from pathcast.messaging.observation_codec import encode_observation
from pathcast.serving.blocks import whole_blocks
from pathcast.serving.remote_models import RemoteDetector
from pathcast.serving.stream_client import StreamClient
from pathcast.serving.triton_client import TritonClient

WARM_UP = 10
_START = datetime(2026, 1, 1, tzinfo=UTC)
STAGGER = 20
"""Frames by which each of the streams at once begins later in the clip."""

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """Milliseconds for each frame (n,), measured in turns.

    `alone` is the detector's request and, where forecasts were due, the forecaster's with as many tracks.
    `by_hand` is that with what a client needs around it: decoding the JPEG, fitting it to the detector's input,
    dropping overlapping boxes. `pixels` and `jpeg` are the endpoint's.
    """

    alone: Float64Array
    by_hand: Float64Array
    pixels: Float64Array
    jpeg: Float64Array

    @classmethod
    def best(cls, rounds: Sequence[Self]) -> Self:
        """Every frame with its best round, for each of the four by itself.

        What remains is what the work on that frame costs, and not what else went on on the machine.
        """
        return cls(*(np.min([getattr(each, field.name) for each in rounds], axis=0) for field in fields(cls)))

    @classmethod
    def every(cls, rounds: Sequence[Self]) -> Self:
        """The frames of all rounds, as they came."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in rounds]) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """Streams at once beside the same streams one by one; `different` counts frames with another result."""

    frames: int
    different: int
    ms: Float64Array
    alone_ms: Float64Array
    frames_per_second: float
    alone_frames_per_second: float


def read_clip(path: Path, frames: int) -> list[UInt8Array]:
    """The first frames of a video, RGB."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        images: list[Any] = []
        while len(images) < frames and capture.grab():
            images.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
    if len(images) < frames:
        raise InvalidInputError(f"video {path}: expected {frames} frames or more, got {len(images)}")
    return images


def jpegs(images: Sequence[UInt8Array], quality: int = 85) -> list[bytes]:
    """The RGB images as a camera would send them."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return [cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes() for image in images]


def measure_latencies(
    address: str, images: Sequence[UInt8Array], fps: float, rounds: int, on_frame: Progress
) -> list[Latencies]:
    """One stream of RGB `images`, through shared memory, on an otherwise idle server, `rounds` times over."""
    compressed = jpegs(images)
    gc.freeze()  # the clip's images and the libraries are not for the collector to look through during a request
    keep_frame_memory()  # as the endpoint does: by hand is to cost no more than it must
    return [_round(address, images, compressed, fps, on_frame) for _ in range(rounds)]


def _round(
    address: str, images: Sequence[UInt8Array], compressed: Sequence[bytes], fps: float, on_frame: Progress
) -> Latencies:
    spent: dict[str, list[float]] = {"detector": [], "by_hand": [], "pixels": [], "jpeg": [], "forecaster": []}
    with (
        TritonClient(address, shared_memory=True) as client,
        StreamClient(address, shared_memory=True) as of_pixels,
        StreamClient(address, shared_memory=True) as of_jpeg,
    ):
        by_hand = RemoteDetector(client)
        canvas = np.empty((1, *client.metadata("detector").inputs["images"].shape[1:]), np.uint8)
        for index, image in enumerate(images):
            letterbox(image, canvas[0])
            moment = _START + timedelta(seconds=index / fps)
            calls: dict[str, Callable[[], Any]] = {
                "detector": partial(client.infer, "detector", {"images": canvas}),
                "by_hand": partial(_detect, by_hand, compressed[index]),
                "pixels": partial(of_pixels.send, image, moment),
                "jpeg": partial(of_jpeg.send, compressed[index], moment),
            }
            names = list(calls)
            answers = {name: _timed(calls[name], spent[name]) for name in names[index % 4 :] + names[: index % 4]}
            due = len(answers["jpeg"].forecasts)
            rows = len(whole_blocks(np.zeros(max(due, 1))))
            standing = {
                "observed": np.zeros((rows, OBSERVED_STEPS, 2), np.float32),
                "neighbours": np.zeros((rows, NEIGHBOURS, NEIGHBOUR_VALUES), np.float32),
            }
            _timed(partial(client.infer, "forecaster", standing), spent["forecaster"])
            if not due:
                spent["forecaster"][-1] = 0.0
            on_frame()
    detector, own, pixels, jpeg, forecaster = (np.array(values[WARM_UP:]) for values in spent.values())
    return Latencies(detector + forecaster, own + forecaster, pixels, jpeg)


def _detect(detector: RemoteDetector, jpeg: bytes) -> None:
    image: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    detector.detect([image])


def _timed(call: Callable[[], Any], spent_ms: list[float]) -> Any:
    began = time.perf_counter()
    answer = call()
    spent_ms.append(1e3 * (time.perf_counter() - began))
    return answer


def measure_company(
    address: str, images: Sequence[UInt8Array], fps: float, streams: int, on_frame: Progress
) -> Company:
    """`streams` clients at once, each with its own part of the clip, and then one after the other."""
    frames = jpegs(images)
    length = len(frames) - STAGGER * (streams - 1)

    def run(stream: int) -> tuple[list[bytes], list[float]]:
        seen, spent = [], []
        with StreamClient(address) as client:
            for index, frame in enumerate(frames[STAGGER * stream :][:length]):
                began = time.perf_counter()
                observation = client.send(frame, _START + timedelta(seconds=index / fps))
                spent.append(1e3 * (time.perf_counter() - began))
                seen.append(encode_observation(observation))
                on_frame()
        return seen, spent

    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as threads:
        together = list(threads.map(run, range(streams)))
    between = time.perf_counter()
    alone = [run(stream) for stream in range(streams)]
    ended = time.perf_counter()
    pairs = zip(together, alone, strict=True)
    return Company(
        frames=streams * length,
        different=sum(a != b for (first, _), (second, _) in pairs for a, b in zip(first, second, strict=True)),
        ms=np.concatenate([spent for _, spent in together]),
        alone_ms=np.concatenate([spent for _, spent in alone]),
        frames_per_second=streams * length / (between - began),
        alone_frames_per_second=streams * length / (ended - between),
    )
