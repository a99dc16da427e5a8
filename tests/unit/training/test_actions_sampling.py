from collections.abc import Iterator

import numpy as np
import pytest

from pathcast.recognition.action_settings import ActionSettings
from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions import FAMILY
from pathcast.training.actions_sampling import SampledTask, Sampling, fixed_frames
from pathcast.training.actions_task import Learning
from pathcast.training.loop import fit
from pathcast.training.prepared import PreparedData, prepare
from pathcast.training.settings import TrainingSettings
from tests.support.backbone import small_actions
from tests.support.clips import write_strips

SETTINGS = ActionSettings(
    ("stay", "wander"), frames=6, size=32, selected=3, glance=16, units=8, input_size=32, dropout=0.0
)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_actions():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("sampled")
    return prepare(FAMILY, write_strips(folder / "raw", 15), folder / "data", {"frames": 6, "size": 32})


def sampled(data: PreparedData, sampling: Sampling) -> SampledTask:
    train, val = read_clips(data.folder, "train"), read_clips(data.folder, "val")
    return SampledTask(train, val, SETTINGS, Learning(epoch_steps=10), sampling)


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [("uniform", [0, 2, 5]), ("middles", [1, 3, 5]), ("random", []), ("all", [0, 1, 2, 3, 4, 5])],
)
def test_frames_are_chosen_without_a_look_at_them(sampling: Sampling, frames: list[int]) -> None:
    assert fixed_frames(sampling, SETTINGS).tolist() == frames


def test_the_recogniser_learns_from_its_frames(data: PreparedData) -> None:
    task = sampled(data, "uniform")
    fitted = fit(task, TrainingSettings(epochs=3, batch_size=8, learning_rate=2e-2, weight_decay=0.0, ema=0.5))
    assert fitted.reports[-1].loss < 0.9 * fitted.reports[0].loss


def test_answers_depend_on_the_chosen_frames_alone(data: PreparedData) -> None:
    clips = read_clips(data.folder, "test")
    answers = {}
    for sampling in ("uniform", "all"):
        task = sampled(data, sampling)
        head = task.build()
        head.get_layer("action").kernel.assign(
            np.random.default_rng(1).normal(size=head.get_layer("action").kernel.shape)
        )
        before = task.answers(clips)
        changed = np.array(clips.frames)
        changed[:, 3] = changed[:, 4]
        features = task.answers(type(clips)(changed, clips.labels, clips.entries, clips.classes))
        answers[sampling] = np.allclose(before, features)
    assert answers == {"uniform": True, "all": False}
