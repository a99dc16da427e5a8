"""A search shared by workers, step by step as a pipeline takes them: a parabola with its best point at 3."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.training import tuning_runs
from pathcast.training.search_space import Real
from pathcast.training.search_steps import open_search, report_search, run_trials


class Parabola:
    name, value_name, maximize = "parabola", "height", False
    space = {"x": Real(-10.0, 10.0)}

    def __init__(self, fixed: Mapping[str, Any] | None = None) -> None:
        self.fixed = dict(fixed or {})

    def facts(self) -> dict[str, Any]:
        return {"version": 1}

    def start(self) -> dict[str, Any]:
        return {"x": 2.0}

    def open(self) -> Parabola:
        return self

    def seconds(self) -> float:
        return 60.0

    def run(self, values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        report(1, (values["x"] - 3) ** 2)
        return float((values["x"] - 3) ** 2)


@pytest.fixture
def settings(tmp_path: Path) -> PlatformSettings:
    return PlatformSettings.model_construct(workspace=tmp_path, mlflow_tracking_uri=SecretStr("http://mlflow"))


@pytest.mark.parametrize(("trials", "workers", "shares"), [(5, 2, [3, 2]), (2, 4, [1, 1]), (1, 1, [1])])
def test_the_work_is_shared_and_its_cost_known_before(settings, trials, workers, shares):
    name, found, figures = open_search(settings, Parabola(), trials, workers, price=3.0)
    assert found == shares
    assert name.startswith("parabola-")
    assert figures == {
        "estimate_trials": trials,
        "estimate_trial_s": 60.0,
        "estimate_total_s": 60.0 * shares[0],
        "estimate_machine_hours": round(trials / 60, 4),
        "estimate_cost": pytest.approx(3 * trials / 60, abs=1e-3),
    }


def test_workers_run_their_shares_and_a_later_run_goes_on(settings, tmp_path, monkeypatch):
    recorded: list[int] = []

    class Runs:
        broken = True

        def __init__(self, *_: object) -> None: ...
        def add(self, trial: Any) -> None:
            recorded.append(trial.number)

        def finish(self, best: Any, files: Any) -> None:
            assert {path.name for path in files} >= {"best.json", "history.png"}

    monkeypatch.setattr(tuning_runs, "SearchRuns", Runs)
    name, shares, figures = open_search(settings, Parabola(), 5, 2, price=0.0)
    said: list[str] = []
    for worker, share in enumerate(shares):
        assert run_trials(settings, Parabola(), name, worker=worker, share=share, trials=5, say=said.append) == share
    assert said[-1].startswith("parabola: 5 of 5 trials, best ")
    # A worker that is started again finds nothing left.
    assert run_trials(settings, Parabola(), name, worker=0, share=3, trials=5) == 0
    with pytest.raises(ServiceUnavailableError, match="MLflow misses a part of the search"):
        report_search(settings, Parabola(), name, tmp_path / "found", figures)
    recorded.clear()
    Runs.broken = False
    summary = report_search(settings, Parabola(), name, tmp_path / "found", figures)
    assert summary["start"] == 1.0 >= summary["best"]
    assert sum(summary["trials"].values()) == 5
    assert json.loads((tmp_path / "found" / "best.json").read_text()) == summary
    assert recorded == [0, 1, 2, 3, 4]

    again, shares, figures = open_search(settings, Parabola(), 7, 2, price=0.0)
    assert (again, shares, figures["estimate_trials"]) == (name, [1, 1], 2)
    assert open_search(settings, Parabola(), 5, 2, price=0.0)[1] == [0]
    assert open_search(settings, Parabola({"epochs": 2}), 5, 2, price=0.0)[0] != name


def test_a_search_whose_workers_are_at_it_is_not_begun_again(settings):
    name, shares, _ = open_search(settings, Parabola(), 4, 1, price=0.0)
    complaints = []

    def say(_: str) -> None:
        with pytest.raises(PathcastError, match="a search is running there") as raised:
            open_search(settings, Parabola(), 4, 1, price=0.0)
        complaints.append(raised.value)

    assert run_trials(settings, Parabola(), name, worker=0, share=shares[0], trials=4, say=say) == 4
    assert len(complaints) == 4
    assert open_search(settings, Parabola(), 4, 1, price=0.0)[1] == [0]


def test_a_search_has_trials_and_workers(settings):
    with pytest.raises(InvalidInputError, match="1 or more trials and workers"):
        open_search(settings, Parabola(), 0, 1, price=0.0)
