"""From prepared data to a trained model's folder: what `pathcast train FAMILY` and a pipeline's step do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

import pathcast
from pathcast.core.errors import InvalidInputError
from pathcast.core.trained_model import DESCRIPTION_FILE, PICTURES, TrainedModel
from pathcast.training.family import Family
from pathcast.training.loop import ComparingTask, EpochReport, Fit, Task, fit
from pathcast.training.network import assign_weights, read_weights
from pathcast.training.options import check_values
from pathcast.training.prepared import PreparedData
from pathcast.training.provenance import git_commit
from pathcast.training.settings import TrainingSettings
from pathcast.training.share import Share
from pathcast.training.workers import Workers

CHECKPOINT_FILE = "checkpoint.npz"


class Watcher(Protocol):
    """What is told how a training goes; the chief's process calls it."""

    def started(self, record: Mapping[str, Any]) -> None:
        """Settings, data and code are known, no step is done (in this start)."""

    def stepped(self, done: int, steps: int) -> None:
        """So many of all steps are done."""

    def epoch_ended(self, report: EpochReport) -> None:
        """One epoch is done."""

    def finished(self, folder: Path, model: TrainedModel) -> None:
        """The model lies in its folder."""


class Watchers:
    """Several watchers as one; none is as good as no watcher."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def started(self, record: Mapping[str, Any]) -> None:
        for watcher in self._watchers:
            watcher.started(record)

    def stepped(self, done: int, steps: int) -> None:
        for watcher in self._watchers:
            watcher.stepped(done, steps)

    def epoch_ended(self, report: EpochReport) -> None:
        for watcher in self._watchers:
            watcher.epoch_ended(report)

    def finished(self, folder: Path, model: TrainedModel) -> None:
        for watcher in self._watchers:
            watcher.finished(folder, model)


@dataclass(frozen=True, slots=True)
class Job:
    """One training: which family, on what, how, and where the result goes. `settings` are the family's own."""

    family: Family
    data: PreparedData
    output: Path
    training: TrainingSettings
    settings: Mapping[str, Any]
    initial: TrainedModel | None = None

    @classmethod
    def of(
        cls,
        family: Family,
        data: PreparedData,
        output: Path,
        changes: Mapping[str, Any] | None = None,
        initial: TrainedModel | None = None,
    ) -> Job:
        """A job with the family's settings and those that `changes` names, of the training or of the family.

        Without initial weights the family adds what follows from the data. With `initial`, its settings are the
        family's. Raises InvalidInputError on an unknown name, and on a change of what the initial weights were made
        for.
        """
        wanted = dict(changes or {})
        own, training = settings_before(family, wanted, initial), asdict(family.training)
        settings = {name: wanted.get(name, value) for name, value in own.items()}
        if initial is None and family.fitted_settings is not None:
            settings = dict(family.fitted_settings(data.folder, settings))
            training |= {name: settings.pop(name) for name in training.keys() & settings.keys()}
        return cls(
            family,
            data,
            output,
            TrainingSettings(**{name: wanted.get(name, value) for name, value in training.items()}),
            settings,
            initial,
        )


def settings_before(family: Family, changes: Mapping[str, Any], initial: TrainedModel | None = None) -> dict[str, Any]:
    """The family's own settings before `changes`, or those of the initial weights; raises as `Job.of` does.

    What `TrainingSettings` refuses is refused here too.
    """
    own = dict(family.settings)
    if initial is not None:
        own = {**{name: own[name] for name in family.sampling}, **initial.settings}
    training = asdict(family.training)
    check_values(family.name, changes, {**own, **training}, "setting")
    TrainingSettings(**{name: changes.get(name, value) for name, value in training.items()})
    fixed = own.keys() - set(family.sampling)
    changed = sorted(name for name in fixed & changes.keys() if changes[name] != own[name])
    if initial is not None and changed:
        raise InvalidInputError(
            f"{family.name}: {', '.join(changed)}: settings come with the initial weights; give one of the two"
        )
    return own


def train_family(
    job: Job, *, workers: Workers | None = None, watcher: Watcher | None = None, resume: bool = False
) -> TrainedModel:
    """Train and, on the chief, write `output`: the model's folder, which replaces the checkpoint kept till then.

    With `resume`, goes on from the checkpoint where there is one. Without, raises InvalidInputError where `output`
    holds an unfinished training. Raises what `fit` raises.
    """
    together, told = workers or Workers(), watcher or Watchers()
    checkpoint = job.output / CHECKPOINT_FILE
    if resume:
        finished = finished_model(job)
        if finished is not None:
            return finished
    if not resume and together.is_chief:
        refuse_unfinished(job.output)
    facts = _facts(job, together.share)
    if together.is_chief:
        told.started(facts)
    result = fit(
        _Prepared(job),
        job.training,
        on_epoch=told.epoch_ended if together.is_chief else _ignore,
        on_step=told.stepped if together.is_chief else _ignore,
        workers=together,
        checkpoint=checkpoint,
        resume=resume,
        about={key: facts[key] for key in ("family", "settings", "data_version", "initial_weights")},
    )
    model = TrainedModel(job.family.name, job.settings, read_weights(result.model), {**facts, **_outcome(result)})
    if together.is_chief:
        model.save(job.output)
        if job.family.illustrate is not None:
            job.family.illustrate(result.model, job.data.folder, job.output / PICTURES)
        checkpoint.unlink(missing_ok=True)
        told.finished(job.output, model)
    # Nobody leaves before the chief has written everything.
    together.leave_together()
    return model


def refuse_unfinished(output: Path) -> None:
    """Raise InvalidInputError where the output holds an unfinished training, which a new one would overwrite."""
    checkpoint = output / CHECKPOINT_FILE
    if checkpoint.exists():
        raise InvalidInputError(
            f"{checkpoint}: an unfinished training lies there", hint="go on with --resume, or remove the file"
        )


def finished_model(job: Job) -> TrainedModel | None:
    """What this very job gave when it was finished; None where it is not.

    Raises InvalidInputError where the output is another training's.
    """
    if not (job.output / DESCRIPTION_FILE).is_file() or (job.output / CHECKPOINT_FILE).exists():
        return None
    model = TrainedModel.load(job.output, job.family.name)
    wanted = _facts(job, Share())
    same = ("settings", "training", "data_version", "initial_weights")
    differing = [key for key in same if model.record.get(key) != wanted[key]]
    if differing:
        raise InvalidInputError(
            f"{job.output}: holds a finished training with other {', '.join(differing)}",
            hint="choose another --output, or leave --resume out to replace it",
        )
    return model


class _Prepared:
    """The family's task on the job's data, from the initial weights where the job has some."""

    def __init__(self, job: Job) -> None:
        self._task: Task = job.family.task(job.data.folder, job.settings)
        self._initial = job.initial
        self.steps_per_epoch = self._task.steps_per_epoch
        self.loss = self._task.loss
        self.validation = self._task.validation
        if isinstance(self._task, ComparingTask):
            self.require_piece = self._task.require_piece

    def build(self) -> keras.Model:
        model = self._task.build()
        if self._initial is not None:
            assign_weights(model, self._initial.weights)
        return model

    def batches(
        self, batch_size: int, random: np.random.Generator, share: Share
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        return self._task.batches(batch_size, random, share)


def _facts(job: Job, share: Share) -> dict[str, Any]:
    """What is known before the first step."""
    return {
        "family": job.family.name,
        "settings": dict(job.settings),
        "training": job.training.as_mapping(),
        **job.family.record,
        "workers": share.count,
        "data_version": job.data.version,
        "data_options": dict(job.data.options),
        "data_card": dict(job.data.card),
        "initial_record": None if job.initial is None else dict(job.initial.record),
        "initial_weights": None if job.initial is None else job.initial.digest,
        "release": pathcast.__version__,
        "git_commit": git_commit(),
    }


def _outcome(result: Fit) -> dict[str, Any]:
    best = result.best
    return {
        "epochs_run": len(result.reports),
        "best_epoch": 0 if best is None else best.epoch,
        "seconds_per_epoch": float(np.median([report.seconds for report in result.reports])),
        "epoch_seconds": [round(report.seconds, 4) for report in result.reports],
        "losses": [report.loss for report in result.reports],
        "val_start": dict(result.start),
        "val": dict(result.start if best is None else best.figures),
    }


def _ignore(*_: Any) -> None:
    """Only the chief reports."""
