"""The search for settings as steps of a pipeline: open it, let workers share it, report what came out.

The workers are processes or pods that see one folder below the workspace: the search's file lies there, so each
learns from the others' trials, and a search of the same data, fixed settings and space goes on where one was cut
short.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.training.family_tuning import FamilySearch
from pathcast.training.pipeline_step import whole_numbers
from pathcast.training.search_space import TRACKER
from pathcast.training.tuning import Estimate, Search, Study


def find_search(family: str, dataset: Path, fixed: Mapping[str, Any], threads: int) -> Search:
    """The search on prepared data: of a family's validation loss, or of the tracker's HOTA."""
    shared = whole_numbers(fixed)
    if family == TRACKER:
        from pathcast.tracking.mot_sequences import find_sequences
        from pathcast.training.tracker_tuning import TrackerSearch

        return TrackerSearch(find_sequences([dataset]), ("det",), shared)
    return FamilySearch(family, dataset, shared, threads)


def open_search(
    settings: PlatformSettings, search: Search, trials: int, workers: int, price: float
) -> tuple[str, list[int], dict[str, float]]:
    """Begin the search or go on with it: its name in the workspace, each worker's share, what it takes at the most.

    A trial is measured for the estimate. On a cluster each worker has cores of its own, so none waits for another.
    """
    if trials < 1 or workers < 1:
        raise InvalidInputError(f"search: expected 1 or more trials and workers, got {trials} and {workers}")
    facts = json.dumps([search.facts(), dict(search.fixed), sorted(search.space)], sort_keys=True)
    name = f"{search.name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    study = Study(search, _folder(settings, name))
    with study.held():
        study.open(resume=study.exists)
    left = max(trials - len(study.ended()), 0)
    # A loop over nothing would hand nothing on: with no trial left, one worker finds that out.
    shares = [len(range(worker, left, workers)) for worker in range(max(min(workers, left), 1))]
    estimate = Estimate(left, len(shares), search.open().seconds(), slowdown=1.0)
    return name, shares, {**estimate.figures(price), "estimate_trials": float(left)}


def run_trials(
    settings: PlatformSettings,
    search: Search,
    name: str,
    *,
    worker: int,
    share: int,
    trials: int,
    say: Callable[[str], None] = print,
) -> int:
    """A worker's share of the trials; how many it ran.

    One that is started again after a failure runs no more than are left of all `trials`.
    """
    study = Study(search, _folder(settings, name))
    done = 0

    def take() -> bool:
        nonlocal done
        ended = study.ended()
        if done:
            say(f"{search.name}: {len(ended)} of {trials} trials, best {study.leading()}")
        if done == share or len(ended) >= trials:
            return False
        done += 1
        return True

    with study.held(shared=True):
        study.work(take, worker)
    return done


def report_search(
    settings: PlatformSettings, search: Search, name: str, folder: Path, estimate: Mapping[str, float]
) -> dict[str, Any]:
    """Write best.json and plots into `folder`, record the search in MLflow; what came out.

    Raises ServiceUnavailableError where MLflow failed on the way: given again, it adds what is missing there.
    """
    from pathcast.training.tuning_runs import SearchRuns

    study = Study(search, _folder(settings, name))
    summary = {**study.summary(), **estimate}
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "best.json"
    result.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    pictures = study.plot(folder / "plots")
    runs = SearchRuns(settings.mlflow_tracking_uri, search.name, search.value_name, _folder(settings, name))
    for trial in study.ended():
        runs.add(trial)
    runs.finish(study.best(), [result, *pictures])
    if runs.broken:
        raise ServiceUnavailableError(
            "MLflow misses a part of the search", hint="run this step again: what is recorded stays, the rest is added"
        )
    return summary


def _folder(settings: PlatformSettings, name: str) -> Path:
    return settings.workspace / "searches" / name
