"""`pathcast evaluate actions` by folds, with what stands in for the trainings, on toy clips."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.recognition.clip_store import read_clips
from pathcast.training import actions_trials
from pathcast.training.actions import FAMILY
from pathcast.training.actions_trials import Trial
from pathcast.training.prepared import PreparedData, prepare
from tests.support.clips import moving_square, write_strip, write_strips


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # TensorFlow may be at work in this process already, on all threads.
        patch.setattr("pathcast.training.backend.use_tensorflow", lambda *_: None)
        yield


def evaluate(data: Path, target: Path, *arguments: str) -> dict[str, object]:
    options = ["--option", "frames=6", "--option", "size=32", "--json", str(target)]
    command = ["evaluate", "actions", "--data", str(data), *arguments, *options]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "SMART over evenly spread" in done.output
    return dict(json.loads(target.read_text()))


def judge_at_random(data: PreparedData, *_: object) -> Trial:
    """In the place of trainings."""
    clips, random = read_clips(data.folder, "test"), np.random.default_rng(1)
    said = {way: random.dirichlet((1, 1), len(clips)).astype(np.float32) for way in actions_trials.WAYS}
    costs = {**dict.fromkeys(actions_trials.WAYS, 30), "smart": 35, "all": 100}
    names = tuple(entry.name for entry in clips.entries)
    return Trial(clips.classes, names, clips.labels, said, costs, seconds_per_clip=0.5)


def test_every_clip_is_judged_once_by_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_trials, "judge", judge_at_random)
    scores = evaluate(write_strips(tmp_path / "raw", 15), tmp_path / "scores.json", "--folds", "2")
    assert scores["samples"] == 30
    ways = scores["frames_chosen_by"]
    assert isinstance(ways, dict)
    assert list(ways) == ["smart", "uniform", "middles", "random", "all"]
    assert ways["smart"]["balanced_accuracy"] == scores["balanced_accuracy"]
    assert ways["uniform"]["compute_ratio"] < ways["smart"]["compute_ratio"]
    assert ways["all"]["compute_ratio"] == 1.0
    gain = ways["smart"]["balanced_accuracy"] - ways["uniform"]["balanced_accuracy"]
    assert scores["gain_over_uniform"] == pytest.approx(gain)


def test_every_actor_is_left_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for actor in range(9):
        for moves in (True, False):
            write_strip(tmp_path / "raw" / str(moves) / f"actor{actor}.png", moving_square(actor, moves=moves))
    held_out = []

    def judged(source: Path, options: Sequence[Mapping[str, Any]], *_: object, **__: object) -> Trial:
        for option in options:
            data = prepare(FAMILY, source, tmp_path / str(len(held_out)), option)
            held_out.append({entry.name for entry in read_clips(data.folder, "test").entries})
        said = {way: np.array([[0.9, 0.1], [0.2, 0.8]], np.float32) for way in actions_trials.WAYS}
        costs = dict.fromkeys(actions_trials.WAYS, 1)
        return Trial(("False", "True"), ("a", "b"), np.array([0, 1]), said, costs, seconds_per_clip=0.5)

    monkeypatch.setattr(actions_trials, "cross_validate", judged)
    scores = evaluate(tmp_path / "raw", tmp_path / "scores.json", "--leave-one-out")
    assert held_out == [{f"False/actor{number}.png", f"True/actor{number}.png"} for number in range(9)]
    assert (scores["accuracy"], scores["gain_over_uniform"], scores["samples_per_s"]) == (1.0, 0.0, 2.0)


def test_figures_are_means_over_deals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def judged(_: Path, options: Sequence[Mapping[str, Any]], *__: object, **___: object) -> Trial:
        seeds.append([option["seed"] for option in options])
        right = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
        said = dict.fromkeys(actions_trials.WAYS, right)
        said["uniform"] = right if len(seeds) == 1 else right[[0, 0]]
        costs = dict.fromkeys(actions_trials.WAYS, 1)
        return Trial(("False", "True"), ("a", "b"), np.array([0, 1]), said, costs, seconds_per_clip=0.5)

    monkeypatch.setattr(actions_trials, "cross_validate", judged)
    arguments = ("--folds", "2", "--deals", "2", "--option", "seed=7")
    scores = evaluate(tmp_path, tmp_path / "scores.json", *arguments)
    assert seeds == [[7, 7], [8, 8]]
    ways = scores["frames_chosen_by"]
    assert isinstance(ways, dict)
    assert (ways["uniform"]["balanced_accuracy"], ways["uniform"]["by_deal"]) == (0.75, [1.0, 0.5])
    assert (scores["gain_over_uniform"], scores["gain_by_deal"]) == (0.25, [0.0, 0.5])


def test_deals_go_with_folds(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--deals 2: expected --folds"):
        evaluate(tmp_path, tmp_path / "scores.json", "--leave-one-out", "--deals", "2")


@pytest.mark.parametrize("arguments", [[], ["--folds", "2", "--leave-one-out"]])
def test_one_way_of_judging_is_asked_for(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected one of --model, --folds and --leave-one-out"):
        CliRunner().invoke(app, ["evaluate", "actions", "--data", str(tmp_path), *arguments], catch_exceptions=False)
