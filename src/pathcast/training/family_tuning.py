"""A network family's search: the validation score of a training, by its settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathcast.training.family import find_family
from pathcast.training.prepared import open_prepared
from pathcast.training.search_space import Space, starting_point

if TYPE_CHECKING:
    from pathcast.training.train_family import Job
    from pathcast.training.workers import Workers

_TIMED_STEPS = 12
_WARM_UP_STEPS = 4


class _EnoughError(Exception):
    """The timing has seen what it needs."""


@dataclass(frozen=True, slots=True)
class FamilySearch:
    """The best validation score of a training on the prepared folder `data`, to be small; reported each epoch.

    `fixed` are settings, of training or family, that all trials share; `threads` those of one trial.
    """

    family: str
    data: Path
    fixed: Mapping[str, Any]
    threads: int

    value_name = "score"
    maximize = False

    @property
    def name(self) -> str:
        return find_family(self.family).name

    @property
    def space(self) -> Space:
        return find_family(self.family).search

    def facts(self) -> dict[str, Any]:
        """What must be the same when the search goes on."""
        return {"family": self.name, "data_version": open_prepared(self.data, find_family(self.family)).version}

    def start(self) -> Mapping[str, Any]:
        family = find_family(self.family)
        return starting_point(self.space, {**family.training.as_mapping(), **family.settings})

    def open(self) -> _OpenFamilySearch:
        from pathcast.training.backend import use_tensorflow

        use_tensorflow(self.threads)
        return _OpenFamilySearch(self)


class _OpenFamilySearch:
    """A process in which trainings run one after the other."""

    def __init__(self, search: FamilySearch) -> None:
        self._search = search

    def run(self, values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        from pathcast.training.loop import fit

        job = self._job(values)
        best = float("inf")

        def epoch_ended(epoch: Any) -> None:
            nonlocal best
            best = min(best, epoch.figures["score"])
            report(epoch.epoch, epoch.figures["score"])

        fit(job.family.task(job.data.folder, job.settings), job.training, on_epoch=epoch_ended)
        return best

    def seconds(self) -> float:
        """How long a trial takes that is not stopped early: from some steps and one validation, measured."""
        from pathcast.training.loop import fit

        job = self._job({})
        task = _Timed(job.family.task(job.data.folder, job.settings))
        moments: list[float] = []

        def stepped(done: int, steps: int) -> None:
            moments.append(time.perf_counter())
            if done >= min(_TIMED_STEPS, steps):
                raise _EnoughError

        began = time.perf_counter()
        try:
            fit(task, job.training, on_step=stepped)
        except _EnoughError:
            pass
        warm = min(_WARM_UP_STEPS, len(moments) - 1)
        a_step = (moments[-1] - moments[warm]) / max(len(moments) - 1 - warm, 1)
        an_epoch = task.steps_per_epoch(job.training.batch_size) * a_step + task.validation_s
        return float(moments[0] - began + job.training.epochs * an_epoch)

    def _job(self, values: Mapping[str, Any]) -> Job:
        from pathcast.training.train_family import Job

        family = find_family(self._search.family)
        data = open_prepared(self._search.data, family)
        return Job.of(family, data, self._search.data, {**self._search.fixed, **values})


class _Timed:
    """A task whose validation is timed."""

    def __init__(self, task: Any) -> None:
        from pathcast.training.loop import ComparingTask

        self._task = task
        self.build, self.batches, self.loss = task.build, task.batches, task.loss
        self.steps_per_epoch = task.steps_per_epoch
        if isinstance(task, ComparingTask):
            self.require_piece = task.require_piece
        self.validation_s = 0.0

    def validation(self, model: Any, workers: Workers) -> Callable[[], Mapping[str, float]]:
        validate = self._task.validation(model, workers)

        def timed() -> Mapping[str, float]:
            began = time.perf_counter()
            figures: Mapping[str, float] = validate()
            self.validation_s = time.perf_counter() - began
            return figures

        return timed
