"""Frame selection on trial: SMART against other choices of frames, by models that have not seen the clips.

The same trained recogniser judges every choice, so what differs is the frames alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorflow as tf

from pathcast.core.arrays import Float32Array, Int64Array, UInt8Array
from pathcast.recognition.action_network import ActionNetwork
from pathcast.recognition.action_settings import SCORES, ActionSettings
from pathcast.recognition.clip_store import PreparedClips, read_clips
from pathcast.recognition.clips import find_clips
from pathcast.recognition.compute import multiply_adds
from pathcast.recognition.frame_quality import positions
from pathcast.training.actions import FAMILY, network_settings
from pathcast.training.actions_task import build_network, frozen_features, keras_predictor
from pathcast.training.network import assign_weights
from pathcast.training.prepared import prepare
from pathcast.training.train_family import Job, Watcher, train_family

WAYS = ("smart", "uniform", "middles", "random", "all")
"""`uniform` frames are spread evenly from the first to the last; `middles` are those of as many equal parts."""

_TIMED_CLIPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What models said of clips that they had not seen.

    `probabilities`: way of choosing frames → (n, c). `multiply_adds`: way → of one clip, selection included.
    `seconds_per_clip` is the time of selecting and recognising one by "smart", on the CPU, in the middle of some.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: Int64Array
    probabilities: Mapping[str, Float32Array]
    multiply_adds: Mapping[str, int]
    seconds_per_clip: float


def cross_validate(
    source: Path,
    options: Sequence[Mapping[str, Any]],
    changes: Mapping[str, Any],
    *,
    watcher: Watcher | None = None,
    on_part: Callable[[int, int], None] = lambda done, parts: None,
) -> Trial:
    """Train once for each of `options` (how the clips are prepared), and judge on what it holds out.

    `on_part` is called with the number of trainings done and all of them. Raises what preparing and training raise.
    """
    trials = []
    for number, option in enumerate(options):
        on_part(number, len(options))
        with TemporaryDirectory() as scratch:
            data = prepare(FAMILY, source, Path(scratch) / "data", option)
            job = Job.of(FAMILY, data, Path(scratch) / "model", changes)
            trained = train_family(job, watcher=watcher)
            settings = network_settings(trained.settings)
            network = build_network(settings)
            assign_weights(network.whole, trained.weights)
            held_out = read_clips(data.folder, "test")
            trials.append(judge(network, settings, held_out, np.random.default_rng(number)))
    on_part(len(options), len(options))
    return _joined(trials)


def folds(count: int, more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options that hold out each of `count` folds once."""
    return [{**more, "folds": count, "fold": fold} for fold in range(count)]


def each_left_out(source: Path, more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options that hold out each group of files of one name once: one actor, say."""
    names = sorted({file.path.stem for file in find_clips(source).files})
    return [{**more, "group_by": "name", "held_out": name} for name in names]


def judge(network: ActionNetwork, settings: ActionSettings, clips: PreparedClips, random: np.random.Generator) -> Trial:
    """What the networks say of clips by each way of choosing frames."""
    said: dict[str, list[Float32Array]] = {way: [] for way in WAYS}
    predict, times = keras_predictor(network.whole), []
    for index in range(len(clips)):
        frames = clips.clip(index)
        if index < _TIMED_CLIPS:
            started = time.perf_counter()
            predict(frames[None])
            times.append(time.perf_counter() - started)
        for way, answer in _said(network, settings, frames, random).items():
            said[way].append(answer)
    names = tuple(entry.name for entry in clips.entries)
    probabilities = {way: np.stack(values) for way, values in said.items()}
    return Trial(clips.classes, names, clips.labels, probabilities, costs(network, settings), float(np.median(times)))


def costs(network: ActionNetwork, settings: ActionSettings) -> Mapping[str, int]:
    """Multiply-adds of one clip by each way."""
    frame = multiply_adds(network.whole.get_layer("backbone"))
    selector, head = multiply_adds(network.selector), multiply_adds(network.head)
    few = settings.selected * frame + head
    every = settings.frames * frame + head
    return {"smart": few + selector, "uniform": few, "middles": few, "random": few, "all": every}


def _said(
    network: ActionNetwork, settings: ActionSettings, frames: UInt8Array, random: np.random.Generator
) -> Mapping[str, Float32Array]:
    found = network.selector(frames[None], training=False)
    scores, among = found[SCORES].numpy()[0], found["among"].numpy()[0]
    features = frozen_features(settings.input_size).of(network, frames)[None]
    best = np.sort(np.argsort(-scores, kind="stable")[: settings.selected])
    middles = ((np.arange(settings.selected) + 0.5) * settings.frames / settings.selected).astype(int)
    drawn = np.sort(random.permutation(settings.frames)[: settings.selected])
    chosen = {
        "smart": (best, scores[best]),
        "uniform": (positions(settings.frames, settings.selected), np.ones(settings.selected)),
        "middles": (middles, np.ones(settings.selected)),
        "random": (drawn, np.ones(settings.selected)),
        "all": (np.arange(settings.frames), among),
    }
    return {
        way: tf.nn.softmax(network.head([features[:, rows], weights[None].astype(np.float32)], training=False)).numpy()[
            0
        ]
        for way, (rows, weights) in chosen.items()
    }


def _joined(trials: Sequence[Trial]) -> Trial:
    first = trials[0]
    return Trial(
        first.classes,
        tuple(name for trial in trials for name in trial.names),
        np.concatenate([trial.labels for trial in trials]),
        {way: np.concatenate([trial.probabilities[way] for trial in trials]) for way in WAYS},
        first.multiply_adds,
        float(np.median([trial.seconds_per_clip for trial in trials])),
    )
