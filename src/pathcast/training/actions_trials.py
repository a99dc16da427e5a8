"""Frame selection on trial: SMART against other choices of frames, by models that have not seen the clips.

Each choice is judged by a recogniser that learned from frames chosen in the same way, as Gowda et al. (2021) do; clips,
network, settings and training are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import keras
import numpy as np

from pathcast.core.arrays import Float32Array, Int64Array
from pathcast.recognition.action_network import ActionNetwork
from pathcast.recognition.action_settings import ActionSettings
from pathcast.recognition.clip_splits import SplitRule
from pathcast.recognition.clip_store import PreparedClips, read_clips
from pathcast.recognition.clips import find_clips
from pathcast.recognition.compute import multiply_adds
from pathcast.training.actions import FAMILY, learning_settings, network_settings
from pathcast.training.actions_sampling import SampledTask, Sampling, fixed_frames
from pathcast.training.actions_task import ActionsTask, build_network, keras_predictor
from pathcast.training.loop import fit
from pathcast.training.prepared import PreparedData, prepare
from pathcast.training.train_family import Job

WAYS = ("smart", *get_args(Sampling))

_TIMED_CLIPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What models said of clips that they had not seen, in the order of the clips' names.

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
    on_part: Callable[[], None] = lambda: None,
) -> Trial:
    """Train each way once for each of `options` (how the clips are prepared), and judge on what it holds out.

    `on_part` is called after each training. Raises what preparing and training raise.
    """
    trials = []
    for option in options:
        with TemporaryDirectory() as scratch:
            data = prepare(FAMILY, source, Path(scratch) / "data", option)
            trials.append(judge(data, changes, on_part))
    return _joined(trials)


def folds(count: int, more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options that hold out each of `count` folds once."""
    return [{**more, "folds": count, "fold": fold} for fold in range(count)]


def deals(count: int, more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options that deal the clips to folds in `count` ways, by seeds from that in `more` on."""
    first = int(more.get("seed", SplitRule().seed))
    return [{**more, "seed": seed} for seed in range(first, first + count)]


def each_left_out(source: Path, more: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options that hold out each group of files of one name once: one actor, say."""
    names = sorted({file.path.stem for file in find_clips(source).files})
    return [{**more, "group_by": "name", "held_out": name} for name in names]


def judge(data: PreparedData, changes: Mapping[str, Any], on_part: Callable[[], None] = lambda: None) -> Trial:
    """Train each way on the prepared clips and ask about those that are held out."""
    job = Job.of(FAMILY, data, data.folder, changes)
    settings, learning = network_settings(job.settings), learning_settings(job.settings)
    train, val, held_out = (read_clips(data.folder, part) for part in ("train", "val", "test"))
    tasks: dict[str, ActionsTask] = {"smart": ActionsTask(train, val, settings, learning)}
    for sampling in get_args(Sampling):
        tasks[sampling] = SampledTask(train, val, settings, learning, sampling)
    said = {}
    for way, task in tasks.items():
        fit(task, job.training)
        said[way] = task.answers(held_out)
        on_part()
    network, names = build_network(settings), tuple(entry.name for entry in held_out.entries)
    seconds = _seconds_per_clip(network.whole, held_out)
    return Trial(held_out.classes, names, held_out.labels, said, costs(network, settings), seconds)


def costs(network: ActionNetwork, settings: ActionSettings) -> Mapping[str, int]:
    """Multiply-adds of one clip by each way."""
    frame = multiply_adds(network.whole.get_layer("backbone"))
    selector, head = multiply_adds(network.selector), multiply_adds(network.head)
    counts = {way: len(fixed_frames(way, settings)) or settings.selected for way in get_args(Sampling)}
    return {
        "smart": settings.selected * frame + head + selector,
        **{way: count * frame + head for way, count in counts.items()},
    }


def _seconds_per_clip(network: keras.Model, clips: PreparedClips) -> float:
    predict, times = keras_predictor(network), []
    for index in range(min(len(clips), _TIMED_CLIPS)):
        started = time.perf_counter()
        predict(clips.clip(index)[None])
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _joined(trials: Sequence[Trial]) -> Trial:
    first, names = trials[0], [name for trial in trials for name in trial.names]
    order = np.argsort(names, kind="stable")
    return Trial(
        first.classes,
        tuple(names[index] for index in order),
        np.concatenate([trial.labels for trial in trials])[order],
        {way: np.concatenate([trial.probabilities[way] for trial in trials])[order] for way in WAYS},
        first.multiply_adds,
        float(np.median([trial.seconds_per_clip for trial in trials])),
    )
