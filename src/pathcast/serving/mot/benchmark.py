"""What the endpoint costs over the two models behind it, and whether streams at once disturb each other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame_memory import keep_frame_memory
from pathcast.core.trajectory import OBSERVED_STEPS
from pathcast.core.video import decode
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

    `pixels` and `jpeg` are the endpoint's, of frames that come as such. `pixels_alone` and `jpeg_alone` are the two
    models' without it, from the same frame to detections and paths: decoding the JPEG, fitting the image to the
    detector's input, its request, dropping overlapping boxes, and then, where forecasts are due, the forecaster's
    request with as many (made-up) tracks. `requests` is the two requests by themselves.
    """

    requests: Float64Array
    pixels_alone: Float64Array
    jpeg_alone: Float64Array
    pixels: Float64Array
    jpeg: Float64Array

    @classmethod
    def best(cls, rounds: Sequence[Self]) -> Self:
        """Every frame with its best round, for each of the five by itself.

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
    images = list(islice(decode(path), frames))
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
    """One stream of RGB `images`, through shared memory, on an otherwise idle server, `rounds` times over.

    Once before that, to see for how many tracks forecasts are due at which frame.
    """
    compressed = jpegs(images)
    moments = [_START + timedelta(seconds=index / fps) for index in range(len(images))]
    gc.freeze()  # the clip's images and the libraries are not for the collector to look through during a request
    keep_frame_memory()  # as the endpoint does: without it is to cost no more than it must
    frames = []
    with (
        StreamClient(address, shared_memory=True) as of_pixels,
        StreamClient(address, shared_memory=True) as of_jpeg,
    ):
        for image, jpeg, moment in zip(images, compressed, moments, strict=True):
            due = len(of_pixels.send(image, moment).forecasts), len(of_jpeg.send(jpeg, moment).forecasts)
            frames.append(_Timed(moment, image, jpeg, *due))
            on_frame()
    return [_round(address, frames, number, on_frame) for number in range(rounds)]


class _Timed(NamedTuple):
    """A frame both ways, and for how many tracks forecasts are due then."""

    moment: datetime
    image: UInt8Array
    jpeg: bytes
    due_of_pixels: int
    due_of_jpeg: int


def _round(address: str, frames: Sequence[_Timed], number: int, on_frame: Progress) -> Latencies:
    """The five for every frame, in another order each time; the orders are the round's own."""
    orders = np.random.default_rng(number)
    spent: dict[str, list[float]] = {field.name: [] for field in fields(Latencies)}
    with (
        TritonClient(address, shared_memory=True) as client,
        StreamClient(address, shared_memory=True) as of_pixels,
        StreamClient(address, shared_memory=True) as of_jpeg,
    ):
        alone = _Alone(client)
        canvas = np.empty((1, *client.metadata("detector").inputs["images"].shape[1:]), np.uint8)
        for frame in frames:
            letterbox(frame.image, canvas[0])
            calls: dict[str, Callable[[], object]] = {
                "requests": partial(alone.requests, canvas, frame.due_of_pixels),
                "pixels_alone": partial(alone.pixels, frame.image, frame.due_of_pixels),
                "jpeg_alone": partial(alone.jpeg, frame.jpeg, frame.due_of_jpeg),
                "pixels": partial(of_pixels.send, frame.image, frame.moment),
                "jpeg": partial(of_jpeg.send, frame.jpeg, frame.moment),
            }
            for name in orders.permutation([*calls]).tolist():
                began = time.perf_counter()
                calls[name]()
                spent[name].append(1e3 * (time.perf_counter() - began))
            on_frame()
    return Latencies(**{name: np.array(values[WARM_UP:]) for name, values in spent.items()})


class _Alone:
    """The two models without the endpoint: the detector and, where forecasts are due, after it the forecaster.

    There is no tracker here, so the forecaster is asked about as many made-up tracks.
    """

    def __init__(self, client: TritonClient) -> None:
        self._client = client
        self._detector = RemoteDetector(client)

    def requests(self, canvas: UInt8Array, due: int) -> None:
        """Of an image that is decoded and fitted."""
        self._client.infer("detector", {"images": canvas})
        self._forecast(due)

    def pixels(self, image: UInt8Array, due: int) -> None:
        self._detector.detect([image])
        self._forecast(due)

    def jpeg(self, jpeg: bytes, due: int) -> None:
        image: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        self.pixels(image, due)

    def _forecast(self, due: int) -> None:
        if not due:
            return
        observed = np.zeros((due, OBSERVED_STEPS, 2), np.float32)
        neighbours = np.zeros((due, NEIGHBOURS, NEIGHBOUR_VALUES), np.float32)
        standing = {"observed": whole_blocks(observed), "neighbours": whole_blocks(neighbours)}
        self._client.infer("forecaster", standing)


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
