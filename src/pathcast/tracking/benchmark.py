"""How long trackers take, on made-up crowds of any size.

Times are of the calling thread's processor, so that other work on the machine, which may take turns with it, does not
count; all of the trackers compute in one thread. What other work does to caches and to the clock rate still counts, so
every frame is measured several times over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from pathcast.core import Detections
from pathcast.core.arrays import Float64Array
from pathcast.tracking.peers import Peer
from pathcast.tracking.tracker import Tracker

WIDTH, HEIGHT = 1920, 1080
FRAMES_PER_SECOND = 25.0
_START = datetime(2000, 1, 1, tzinfo=UTC)
_WARM_UP_FRAMES = 5


def crowd(objects: int, frames: int, seed: int = 1) -> list[Detections]:
    """Detections of `objects` people who walk through a frame of 1920 x 1080, the same for the same seed.

    Their size is such that however many they are, they cover a third of the frame, so each has as many
    neighbours. Boxes jitter by 1% of the height, one in 33 is missed, scores are .85 +- .1.
    """
    random = np.random.default_rng(seed)
    heights = 220.0 * np.sqrt(50.0 / objects) * random.uniform(0.8, 1.2, objects)
    half = np.stack((0.2 * heights, 0.5 * heights), axis=1)
    centres = random.uniform(0, 1, (objects, 2)) * (WIDTH, HEIGHT)
    steps = random.normal(0, 0.03, (objects, 2)) * heights[:, np.newaxis]
    scene = []
    for _ in range(frames):
        centres += steps
        outside = (centres < 0) | (centres > (WIDTH, HEIGHT))
        steps = np.where(outside, -steps, steps)
        seen = random.random(objects) > 0.03
        jittered = centres + random.normal(0, 0.01, (objects, 2)) * heights[:, np.newaxis]
        scores = random.normal(0.85, 0.1, objects).clip(0.1, 0.99)
        boxes = np.hstack((jittered - half, jittered + half))
        scene.append(Detections(boxes[seen], scores[seen], np.zeros(seen.sum())))
    return scene


def ours_ms(scene: Sequence[Detections]) -> Float64Array:
    """(n,) milliseconds of each update."""
    tracker = Tracker()
    moments = [_START + timedelta(seconds=frame / FRAMES_PER_SECOND) for frame in range(len(scene))]
    return _each_ms([partial(tracker.update, *item) for item in zip(scene, moments, strict=True)])


def peer_ms(peer: Peer, scene: Sequence[Detections]) -> Float64Array:
    """(n,) milliseconds of each update, the conversion to the library's types left out."""
    converted = [peer.convert(detections) for detections in scene]
    return _each_ms([partial(peer.update, detections) for detections in converted])


def typical_ms(rounds: Sequence[Float64Array]) -> float:
    """The median update of some rounds (n,) over the same scene: each frame with its best round, the first left out."""
    best = np.min(rounds, axis=0)
    return float(np.median(best[min(_WARM_UP_FRAMES, len(best) - 1) :]))


def save_and_restore_ms(objects: int, times: int = 50) -> tuple[float, int]:
    """Median milliseconds to save and restore a tracker of `objects` tracks, and the size of its state in bytes."""
    tracker = Tracker()
    boxes = crowd(objects, 1)[0].xyxy
    # Everything seen in the first frame is a track at once; those that were missed are filled up with copies.
    boxes = np.concatenate((boxes, boxes[: objects - len(boxes)] + 1.0))
    tracker.update(Detections(boxes, np.full(objects, 0.9), np.zeros(objects)), _START)
    spent = _each_ms([lambda: Tracker.restore(tracker.state())] * times)
    return float(np.median(spent)), len(tracker.state())


def _each_ms(calls: Sequence[Callable[[], object]]) -> Float64Array:
    seconds = []
    for call in calls:
        before = time.thread_time()
        call()
        seconds.append(time.thread_time() - before)
    return 1000.0 * np.array(seconds)
