from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions import FAMILY
from pathcast.training.actions_trials import WAYS, judge
from pathcast.training.prepared import prepare
from tests.support.backbone import small_actions
from tests.support.clips import write_strips

SMALL = {"glance": 16, "input_size": 32, "selected": 3, "units": 8, "epochs": 3, "batch_size": 8, "epoch_steps": 10}


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_actions():
        yield


def test_each_way_learns_from_its_own_frames_and_is_asked_about_clips_held_out(tmp_path: Path) -> None:
    data = prepare(FAMILY, write_strips(tmp_path / "raw", 15), tmp_path / "data", {"frames": 6, "size": 32})
    done = []
    trial = judge(data, SMALL, lambda: done.append(1))
    clips = read_clips(data.folder, "test")
    assert len(done) == len(WAYS)
    assert trial.names == tuple(entry.name for entry in clips.entries)
    assert np.array_equal(trial.labels, clips.labels)
    assert list(trial.probabilities) == list(trial.multiply_adds) == list(WAYS)
    assert all(np.allclose(said.sum(axis=1), 1) for said in trial.probabilities.values())
    assert len({said.tobytes() for said in trial.probabilities.values()}) == len(WAYS)
    cost = trial.multiply_adds
    assert cost["uniform"] == cost["middles"] == cost["random"] < cost["smart"]
    assert cost["uniform"] < cost["all"] < 2 * cost["uniform"]
    assert trial.seconds_per_clip > 0
