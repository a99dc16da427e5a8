"""Workers that validate together, as threads of one process."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import keras
import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.training.loop import Task
from pathcast.training.share import Share
from pathcast.training.workers import Workers


class _Thread(Workers):
    def __init__(self, share: Share, given: list[Any], barrier: Barrier) -> None:
        super().__init__(share)
        self._given, self._barrier = given, barrier

    def gather(self, rows: Float64Array) -> Float64Array:
        self._given[self.share.index] = rows
        self._barrier.wait(60)
        everything = np.concatenate(self._given)
        self._barrier.wait(60)
        return everything


def validated_by(count: int, task: Task, model: keras.Model) -> list[Mapping[str, Any]]:
    """The figures that each of `count` workers comes to."""
    given, barrier = [None] * count, Barrier(count)
    workers = [_Thread(Share(index, count), given, barrier) for index in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda worker: task.validation(model, worker)(), workers))
