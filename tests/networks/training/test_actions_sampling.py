from dataclasses import replace

import numpy as np
import pytest

from pathcast.recognition.action_settings import ActionSettings
from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions_sampling import SampledTask, Sampling, fixed_frames
from pathcast.training.actions_task import Learning
from pathcast.training.loop import fit
from pathcast.training.prepared import PreparedData
from pathcast.training.settings import TrainingSettings

SETTINGS = ActionSettings(
    ("stay", "wander"), frames=6, size=32, selected=3, glance=16, units=8, input_size=32, dropout=0.0
)


pytestmark = pytest.mark.usefixtures("small_backbone")


def sampled(clips: PreparedData, sampling: Sampling) -> SampledTask:
    train, val = read_clips(clips.folder, "train"), read_clips(clips.folder, "val")
    return SampledTask(train, val, SETTINGS, Learning(epoch_steps=10), sampling)


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [("uniform", [0, 2, 5]), ("middles", [1, 3, 5]), ("random", []), ("all", [0, 1, 2, 3, 4, 5])],
)
def test_frames_are_chosen_without_a_look_at_them(sampling: Sampling, frames: list[int]) -> None:
    assert fixed_frames(sampling, SETTINGS).tolist() == frames


def test_the_recogniser_learns_from_its_frames(clips: PreparedData) -> None:
    task = sampled(clips, "uniform")
    fitted = fit(task, TrainingSettings(epochs=3, batch_size=8, learning_rate=2e-2, weight_decay=0.0, ema=0.5))
    assert fitted.reports[-1].loss < 0.9 * fitted.reports[0].loss


def test_answers_depend_on_the_chosen_frames_alone(clips: PreparedData) -> None:
    held_out = read_clips(clips.folder, "test")
    answers = {}
    for sampling in ("uniform", "all"):
        task = sampled(clips, sampling)
        head = task.build()
        head.get_layer("action").kernel.assign(
            np.random.default_rng(1).normal(size=head.get_layer("action").kernel.shape)
        )
        before = task.answers(held_out)
        changed = np.array(held_out.frames)
        changed[:, 3] = changed[:, 4]
        features = task.answers(replace(held_out, frames=changed))
        answers[sampling] = np.allclose(before, features)
    assert answers == {"uniform": True, "all": False}
