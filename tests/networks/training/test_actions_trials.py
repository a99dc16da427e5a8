import numpy as np
import pytest

from pathcast.recognition.clip_store import read_clips
from pathcast.training.actions_trials import WAYS, judge
from pathcast.training.prepared import PreparedData

SMALL = {"glance": 16, "input_size": 32, "selected": 3, "units": 8, "epochs": 3, "batch_size": 8, "epoch_steps": 10}


@pytest.mark.usefixtures("small_backbone")
def test_each_way_learns_from_its_own_frames_and_is_asked_about_clips_held_out(clips: PreparedData) -> None:
    done = []
    trial = judge(clips, SMALL, lambda: done.append(1))
    held_out = read_clips(clips.folder, "test")
    assert len(done) == len(WAYS)
    assert trial.names == tuple(entry.name for entry in held_out.entries)
    assert np.array_equal(trial.labels, held_out.labels)
    assert list(trial.probabilities) == list(trial.multiply_adds) == list(WAYS)
    assert all(np.allclose(said.sum(axis=1), 1) for said in trial.probabilities.values())
    assert len({said.tobytes() for said in trial.probabilities.values()}) == len(WAYS)
    cost = trial.multiply_adds
    assert cost["uniform"] == cost["middles"] == cost["random"] < cost["smart"]
    assert cost["uniform"] < cost["all"] < 2 * cost["uniform"]
    assert trial.seconds_per_clip > 0
