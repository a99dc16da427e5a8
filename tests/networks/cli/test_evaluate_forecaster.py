from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError
from pathcast.forecasting.eth_ucy import RECORDINGS
from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster
from pathcast.forecasting.windows import Windows

SCENES = ["eth", "hotel", "univ", "zara1", "zara2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ETH/UCY layout with a few slightly curved walks of 22 steps in every file."""
    root = tmp_path_factory.mktemp("eth_ucy")
    random = np.random.default_rng(6)
    for part, suffix in (("all_data", ""), ("train", "_train"), ("val", "_val")):
        (root / part).mkdir()
        for recording in RECORDINGS:
            rows = []
            for identity in range(4):
                heading = random.uniform(-3, 3) + 0.05 * np.arange(22)
                steps = random.uniform(0.2, 0.6) * np.stack([np.cos(heading), np.sin(heading)], axis=1)
                rows += [
                    f"{10 * step}\t{identity}\t{x:.4f}\t{y:.4f}" for step, (x, y) in enumerate(steps.cumsum(axis=0))
                ]
            (root / part / f"{recording}{suffix}.txt").write_text("\n".join(rows) + "\n")
    return root


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate", "forecaster", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_shipped_model_is_scored_drawn_and_written(data: Path, tmp_path: Path) -> None:
    output = run("--data", data, "--json", tmp_path / "it.json", "--plots", tmp_path / "plots")
    report = json.loads((tmp_path / "it.json").read_text())
    assert report["model_version"] == "shipped"
    assert list(report["scenes"]) == SCENES
    wanted = {"ade_m", "fde_m", "ade_best20_m", "fde_best20_m", "windows", "miss_rate", "mode_nll_nats"}
    assert all(wanted <= set(scores) for scores in [*report["scenes"].values(), report["mean"]])
    assert report["scenes"]["univ"]["windows"] == 2 * 4 * 3
    assert f"{report['mean']['ade_m']:.3f}/{report['mean']['fde_m']:.3f}" in output
    assert {"stand_still", "constant_velocity", "constant_acceleration", "kalman"} <= set(report["baselines"])
    assert len(report["error_m"]["most_likely"]) == len(report["horizon_s"]) == 12
    assert report["error_m"]["most_likely"][-1] == pytest.approx(report["mean"]["fde_m"], rel=1e-5)
    assert sum(entry["windows"] for entry in report["speed_classes"].values()) == report["mean"]["windows"]
    assert 0 <= report["calibration"]["expected_error"] <= 1
    pictures = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert pictures == ["calibration.png", "examples.png", "horizon.png", "speed.png"]
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Training that takes no time: the shipped weights. Gets the numbers of windows it was given."""
    given: list[tuple[int, int]] = []

    def train(learn: Windows, val: Windows, training: object, *, progress: object) -> TrainedForecaster:
        given.append((len(learn), len(val)))
        shipped = shipped_forecaster()
        record = {"windows_train": len(learn), "best_epoch": 1, "val": {"ade": 0.0, "fde": 0.0}}
        return TrainedForecaster(shipped.settings, shipped.weights, record)

    monkeypatch.setattr("pathcast.training.forecaster_trials.train", train)
    return given


def test_models_are_trained_without_each_scene_and_kept(
    data: Path, tmp_path: Path, untrained: list[tuple[int, int]]
) -> None:
    run("--data", data, "--leave-one-out", "--models", tmp_path / "kept", "--json", tmp_path / "it.json")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == SCENES
    assert untrained == [(recordings * 12, recordings * 12) for recordings in (7, 7, 6, 7, 7)]
    assert json.loads((tmp_path / "it.json").read_text())["model_version"] == "leave-one-out"


def test_folds_cover_every_window_and_share_no_track(
    data: Path, tmp_path: Path, untrained: list[tuple[int, int]]
) -> None:
    run("--data", data, "--folds", 2, "--json", tmp_path / "it.json")
    report = json.loads((tmp_path / "it.json").read_text())
    windows = [scores["windows"] for scores in report["scenes"].values()]
    assert windows == [12, 12, 24, 12, 12]
    assert [sum(parts) for parts in untrained] == [36, 36]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--leave-one-out", "--folds", "2"], "give one"),
        (["--leave-one-out", "--model", "here"], "give one"),
        (["--models", "there"], "only --leave-one-out keeps models"),
    ],
)
def test_options_that_exclude_each_other(data: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        run("--data", data, *arguments)
