"""Recognisers that learn from frames chosen without a look at them: what SMART's choice is held against.

Each has a training of its own, on the loop, the settings and the clips of the whole network; the choice differs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from pathcast.core.arrays import Float32Array, Int64Array
from pathcast.recognition.action_network import Head, best_frames, build_head
from pathcast.recognition.action_settings import ActionSettings
from pathcast.recognition.clip_store import PreparedClips
from pathcast.recognition.frame_quality import positions
from pathcast.training.actions_task import ActionsTask, Learning

Sampling = Literal["uniform", "middles", "random", "all"]
"""`uniform` frames are spread evenly from the first to the last; `middles` are those of as many equal parts."""


def fixed_frames(sampling: Sampling, settings: ActionSettings) -> Int64Array:
    """The frames that are always chosen; none where chance decides.

    >>> fixed_frames("middles", ActionSettings(("a", "b"), frames=8, selected=2)).tolist()
    [2, 6]
    """
    count, of = settings.selected, settings.frames
    fixed: Mapping[Sampling, Int64Array] = {
        "uniform": positions(of, count),
        "middles": ((np.arange(count) + 0.5) * of / count).astype(np.int64),
        "random": np.zeros(0, np.int64),
        "all": np.arange(of),
    }
    return fixed[sampling]


class SampledTask(ActionsTask):
    """The training of a recogniser's head alone, on frames by `sampling`, all of one weight."""

    def __init__(
        self,
        train: PreparedClips,
        val: PreparedClips,
        settings: ActionSettings,
        learning: Learning,
        sampling: Sampling,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(train, val, settings, learning, seed=seed)
        fixed = fixed_frames(sampling, settings)
        self._count = len(fixed) or settings.selected
        # Far above the noise, which decides among the rest.
        self._preferred = np.isin(np.arange(settings.frames), fixed).astype(np.float32) * 1e3

    def build(self) -> keras.Model:
        _, size = self._features_of(self._train.clip(0)).shape
        self._head = build_head(Head(self._settings), size)
        return self._head

    def _batch(self, rows: Int64Array, noise: Float32Array) -> tuple[npt.NDArray[Any], ...]:
        return self._targets[rows], noise, self._features[rows]

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        targets, noise, features = batch
        chosen = self._chosen(noise)
        return self._recogniser_loss(features, targets, chosen, self._even(chosen), self._even(noise))

    def _answer(self, frames: Any, features: Any, noise: Any) -> Any:
        chosen = self._chosen(noise)
        return self._recognised(features, chosen, self._even(chosen))

    def _chosen(self, noise: Any) -> Any:
        return best_frames(self._preferred + noise, self._count)

    def _even(self, like: Any) -> Any:
        return ops.ones_like(like, dtype="float32")
