from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError
from pathcast.core.trained_model import TrainedModel
from pathcast.forecasting.drawing import ENOUGH
from pathcast.training.family import Family, find_family
from pathcast.training.loop import EpochReport
from pathcast.training.prepared import PreparedData, content_version, open_prepared, prepare
from pathcast.training.train_family import CHECKPOINT_FILE, Job, Watchers, train_family

SMALL = {"epochs": 1, "batch_size": 32, "units": 8, "modes": 4}


def write_walks(path: Path, tracks: int = 30, seed: int = 1) -> Path:
    """People who turn left, as TrajNet text: frame, id, x, y, 10 frames a step."""
    random = np.random.default_rng(seed)
    rows = []
    for track in range(tracks):
        heading = random.uniform(-np.pi, np.pi) + 0.1 * np.arange(24)
        places = (random.uniform(0.3, 0.6) * np.stack([np.cos(heading), np.sin(heading)], axis=1)).cumsum(axis=0)
        rows += [(10 * step, track, x, y) for step, (x, y) in enumerate(places)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{frame} {track} {x:.4f} {y:.4f}\n" for frame, track, x, y in sorted(rows)))
    return path


@pytest.fixture(scope="module")
def family() -> Family:
    return find_family("forecaster")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, family: Family) -> PreparedData:
    folder = tmp_path_factory.mktemp("forecaster")
    return prepare(family, write_walks(folder / "walks.txt"), folder / "data")


@pytest.fixture(scope="module")
def finished(family: Family, data: PreparedData) -> tuple[Job, TrainedModel]:
    job = Job.of(family, data, data.folder.parent / "model", SMALL)
    return job, train_family(job)


def test_a_family_is_found_by_name_or_place() -> None:
    assert find_family("forecaster") is find_family("pathcast.training.forecaster:FAMILY")
    for name, message in {
        "nothing": "expected one of .*forecaster",
        "pathcast.training.forecaster:NONE": "cannot be imported",
        "pathcast.core.clock:STEP": "cannot be imported",
        "pathcast.training.forecaster:FINE_TUNING": "expected a Family",
    }.items():
        with pytest.raises(InvalidInputError, match=message):
            find_family(name)


def test_prepared_data_knows_its_content(tmp_path: Path, family: Family, data: PreparedData) -> None:
    assert sum(data.card["samples"].values()) == 30 * 5
    assert data.version == content_version(data.folder)
    again = prepare(family, data.folder.parent / "walks.txt", tmp_path / "again")
    other = prepare(family, write_walks(tmp_path / "walks.txt", seed=2), tmp_path / "again")
    assert again.version == data.version != other.version
    assert open_prepared(tmp_path / "again", family) == other
    with pytest.raises(InvalidInputError, match="of family other, got 1 of forecaster"):
        open_prepared(data.folder, replace(family, name="other"))


def test_a_failed_preparation_leaves_nothing(tmp_path: Path, family: Family) -> None:
    (tmp_path / "bad.txt").write_text("0 1 2.0\n")
    with pytest.raises(InvalidInputError, match="row 1"):
        prepare(family, tmp_path / "bad.txt", tmp_path / "data")
    with pytest.raises(InvalidInputError, match="no such file"):
        prepare(family, tmp_path / "none", tmp_path / "data")
    with pytest.raises(InvalidInputError, match="row 1"):
        prepare(family, tmp_path / "bad.txt", tmp_path / "model" / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"day": 1}, "no option day; expected one of frame_rate, held_out"),
        ({"held_out": "eth"}, "expected the ETH/UCY layout"),
        ({"val_share": 0.6, "test_share": 0.4}, "together below 1"),
        ({"min_steps": 99}, "empty selection"),
    ],
)
def test_options_without_sense_are_refused(
    tmp_path: Path, family: Family, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        prepare(family, write_walks(tmp_path / "walks.txt"), tmp_path / "data", options)


def test_a_training_leaves_a_model_that_resumes_to_itself(
    family: Family, data: PreparedData, finished: tuple[Job, TrainedModel]
) -> None:
    job, model = finished
    assert sorted(path.name for path in job.output.iterdir()) == ["model.json", "weights.npz"]
    loaded = TrainedModel.load(job.output, "forecaster")
    assert loaded.settings["units"] == 8
    assert loaded.record == json.loads(json.dumps(model.record))
    assert loaded.record["data_version"] == data.version
    assert loaded.record["data_card"]["samples"] == data.card["samples"]
    assert loaded.record["augmentation"]["paces"] == [1.4, 1.8]
    assert loaded.record["enough_windows"] == ENOUGH
    assert train_family(job, resume=True).record == loaded.record
    with pytest.raises(InvalidInputError, match="finished training with other training"):
        train_family(Job.of(family, data, job.output, {**SMALL, "epochs": 2}), resume=True)


def test_a_trained_model_is_exported_and_judged(
    tmp_path: Path, family: Family, data: PreparedData, finished: tuple[Job, TrainedModel]
) -> None:
    _, model = finished
    network = family.build(model.settings)
    network.set_weights([model.weights[variable.path] for variable in network.weights])
    assert max(family.export(network, data.folder, tmp_path / "served").values()) < 1e-4
    judged = family.evaluate(tmp_path / "served" / "1" / "model.onnx", data.folder)
    assert judged.samples == data.card["samples"]["test"] == judged.metrics["windows"]
    assert judged.metric_of(np.arange(judged.samples)) == pytest.approx(judged.metrics[family.gate.metric])
    examples = family.examples(Path(), data.folder)
    assert {name: values.shape for name, values in examples.items()} == {"observed": (8, 8, 2), "neighbours": (8, 8, 5)}


def test_training_starts_from_given_weights(
    tmp_path: Path, family: Family, data: PreparedData, finished: tuple[Job, TrainedModel]
) -> None:
    _, first = finished
    changes = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-9}
    second = train_family(Job.of(family, data, tmp_path / "second", changes, first))
    assert second.settings == first.settings
    assert second.record["val_start"]["ade"] == pytest.approx(first.record["val"]["ade"], abs=1e-6)
    with pytest.raises(InvalidInputError, match="units: settings come with the initial weights"):
        Job.of(family, data, tmp_path / "third", {"units": 16}, first)


def test_given_weights_may_be_taught_in_another_way(
    tmp_path: Path, family: Family, data: PreparedData, finished: tuple[Job, TrainedModel]
) -> None:
    _, first = finished
    older = replace(first, settings={name: value for name, value in first.settings.items() if name != "dropout"})
    free = replace(family, sampling=("dropout",))
    assert Job.of(free, data, tmp_path / "model", {"dropout": 0.3}, older).settings["dropout"] == 0.3
    assert Job.of(free, data, tmp_path / "model", {}, older).settings["dropout"] == family.settings["dropout"]
    with pytest.raises(InvalidInputError, match="units: settings come with the initial weights"):
        Job.of(free, data, tmp_path / "model", {"units": 16, "dropout": 0.3}, first)


def test_an_unknown_setting_is_refused(tmp_path: Path, family: Family, data: PreparedData) -> None:
    with pytest.raises(InvalidInputError, match="no setting speed; expected one of accumulate"):
        Job.of(family, data, tmp_path / "model", {"speed": 1})


def test_an_unfinished_training_is_not_overwritten(tmp_path: Path, family: Family, data: PreparedData) -> None:
    job = Job.of(family, data, tmp_path / "model", SMALL)
    job.output.mkdir()
    (job.output / CHECKPOINT_FILE).write_bytes(b"something")
    with pytest.raises(InvalidInputError, match="go on with --resume"):
        train_family(job)


def test_an_unfinished_training_keeps_the_data_that_it_goes_on_with(tmp_path: Path) -> None:
    write_walks(tmp_path / "raw" / "walks.txt")
    out = tmp_path / "model"
    (out / "data").mkdir(parents=True)
    for name in ("data/data_card.json", CHECKPOINT_FILE):
        (out / name).write_bytes(b"as it was")
    done = CliRunner().invoke(app, ["train", "forecaster", "--data", str(tmp_path / "raw"), "--output", str(out)])
    assert isinstance(done.exception, InvalidInputError)
    assert "go on with --resume" in str(done.exception.hint)
    assert (out / "data" / "data_card.json").read_bytes() == b"as it was"


@pytest.mark.parametrize(("setting", "said"), [("depth=3", "depth"), ("learning_rate=-1", "learning_rate")])
def test_a_wrong_setting_is_told_before_data_is_prepared(setting: str, said: str, tmp_path: Path) -> None:
    write_walks(tmp_path / "raw" / "walks.txt")
    out = tmp_path / "model"
    arguments = ["train", "forecaster", "--data", str(tmp_path / "raw"), "--output", str(out), "--set", setting]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InvalidInputError)
    assert said in str(done.exception)
    assert not out.exists()


class _KilledError(Exception):
    pass


class _Killing(Watchers):
    def epoch_ended(self, report: EpochReport) -> None:
        if report.epoch == 2:
            raise _KilledError


def test_a_training_goes_on_from_the_weights_it_began_with(
    tmp_path: Path, family: Family, data: PreparedData, finished: tuple[Job, TrainedModel]
) -> None:
    _, first = finished
    other = replace(first, weights={name: 2 * array for name, array in first.weights.items()})
    changes = {"epochs": 2, "batch_size": 32}
    own, others, none = (Job.of(family, data, tmp_path, changes, initial) for initial in (first, other, None))
    none = replace(none, settings=own.settings, training=own.training)
    with pytest.raises(_KilledError):
        train_family(own, watcher=_Killing())
    for job in (others, none):
        with pytest.raises(InvalidInputError, match="was begun with other settings: initial_weights"):
            train_family(job, resume=True)
    assert train_family(own, resume=True).record["initial_weights"] == first.digest != other.digest
    for job in (others, none):
        with pytest.raises(InvalidInputError, match="a finished training with other initial_weights"):
            train_family(job, resume=True)
