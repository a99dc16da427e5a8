"""The search for settings: Optuna's trials, in processes of their own, in a file that a later start goes on from.

The sampler is TPE (Bergstra et al. 2011), which takes running trials for bad ones, so that processes look in
different places. The first trial is the settings as they are. A trial that is worse at a step than the median
of the others at that step is stopped; the first never is.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.file_lock import file_lock
from pathcast.training.search_space import Space, suggest, without

STUDY_FILE = "study.journal"
_STUDY = "search"
_FACTS, _REASON, _RETRIED = "facts", "reason", "retried"
_POLL_S = 0.5
_UNPRUNED_TRIALS = 4


class Trials(Protocol):
    """A search in a process that runs its trials."""

    def run(self, values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        """The value of one trial; `report(step, value)` may raise to stop it."""
        ...

    def seconds(self) -> float:
        """How long a trial takes that is not stopped."""
        ...


class Search(Protocol):
    """What is searched; small and picklable."""

    @property
    def name(self) -> str: ...

    @property
    def value_name(self) -> str: ...

    @property
    def maximize(self) -> bool: ...

    @property
    def space(self) -> Space: ...

    @property
    def fixed(self) -> Mapping[str, Any]: ...

    def facts(self) -> dict[str, Any]: ...

    def start(self) -> Mapping[str, Any]: ...

    def open(self) -> Trials: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search of `trials` takes at the most, `parallel` of them at a time, each as long as `trial_s` alone.

    Trials that share cores take longer: `slowdown` times.
    """

    trials: int
    parallel: int
    trial_s: float
    slowdown: float

    @property
    def total_s(self) -> float:
        rounds = -(-self.trials // self.parallel)
        return rounds * self.trial_s * self.slowdown

    @property
    def machine_hours(self) -> float:
        """Hours of one trial's machine, all trials together."""
        return self.trials * self.trial_s / 3600

    def figures(self, price: float) -> dict[str, float]:
        """The estimate in numbers; `price` is what an hour of one trial's machine costs."""
        return {
            "estimate_trial_s": round(self.trial_s, 3),
            "estimate_total_s": round(self.total_s, 1),
            "estimate_machine_hours": round(self.machine_hours, 4),
            "estimate_cost": round(self.machine_hours * price, 4),
        }


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise InvalidInputError where a search lies in `folder` that is not to go on."""
    if not resume and (folder / STUDY_FILE).exists():
        raise InvalidInputError(
            f"{folder / STUDY_FILE}: a search lies there", hint="go on with --resume, or remove the file"
        )


class Study:
    """A search's trials, in `folder`."""

    def __init__(self, search: Search, folder: Path, *, seed: int = 1) -> None:
        self.search, self._folder, self._seed = search, folder, seed
        self._space = without(search.space, search.fixed)

    @property
    def exists(self) -> bool:
        return (self._folder / STUDY_FILE).exists()

    def check(self, *, resume: bool) -> None:
        """Raise what `open` would; nothing is written."""
        check_folder(self._folder, resume=resume)
        if not self.exists:
            return
        before, facts = dict(self._study().user_attrs.get(_FACTS, {})), self._facts()
        other = sorted(name for name in before.keys() | facts.keys() if before.get(name) != facts.get(name))
        if other:
            raise InvalidInputError(
                f"{self._folder}: a search with other {', '.join(other)} lies there",
                hint="give it what it began with, or search in another --output",
            )

    @contextmanager
    def held(self, *, shared: bool = False) -> Iterator[None]:
        """Inside, no other process opens the search; `shared` is for processes that run trials of one that is open.

        Raises PathcastError where another process holds it: what it is at would count as left by a kill.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        busy = PathcastError(f"{self._folder}: a search is running there", hint="wait for it, or search elsewhere")
        with file_lock(self._folder / "lock", busy, shared=shared):
            yield

    def open(self, *, resume: bool) -> None:
        """Begin, or go on; trials that were killed or interrupted are tried again, so it must be `held`.

        Raises InvalidInputError where there is a search already and `resume` is not asked for, or it is another.
        """
        self.check(resume=resume)
        known = self.exists
        self._folder.mkdir(parents=True, exist_ok=True)
        study = self._study()
        if not known:
            study.set_user_attr(_FACTS, self._facts())
            study.enqueue_trial(self._start())
            return
        trials = study.get_trials()
        retried = {trial.user_attrs.get(_RETRIED) for trial in trials}
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state != TrialState.FAIL:
                continue
            if _REASON in trial.user_attrs or trial.number in retried:
                continue
            # Those that it was to try may not have been drawn yet.
            settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            study.enqueue_trial(settings, user_attrs={_RETRIED: trial.number})

    def ended(self) -> list[FrozenTrial]:
        """The trials that are done, in the order of their beginning; failed ones count."""
        if not self.exists:
            return []
        done = (TrialState.COMPLETE, TrialState.PRUNED)
        return [t for t in self._study().get_trials(deepcopy=False) if t.state in done or _failed(t)]

    def plot(self, folder: Path) -> list[Path]:
        """Pictures of the search: its course, every trial's steps, what each setting did, which mattered."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from optuna.importance import PedAnovaImportanceEvaluator
        from optuna.visualization import matplotlib as pictures

        study = self._study()
        drawn: dict[str, Callable[[], Any]] = {
            "history": lambda: pictures.plot_optimization_history(study, target_name=self.search.value_name),
            "steps": lambda: pictures.plot_intermediate_values(study),
            "settings": lambda: pictures.plot_slice(study, target_name=self.search.value_name),
        }
        if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) > _UNPRUNED_TRIALS:
            drawn["importance"] = lambda: pictures.plot_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator()
            )
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            for name, draw in drawn.items():
                draw()
                paths.append(folder / f"{name}.png")
                plt.savefig(paths[-1], bbox_inches="tight")
                plt.close("all")
        return paths

    def leading(self) -> str:
        """The best value so far, in words."""
        values = [trial.value for trial in self.ended() if trial.value is not None and trial.state.name == "COMPLETE"]
        return f"{(max if self.search.maximize else min)(values):.5g}" if values else "not known yet"

    def best(self) -> FrozenTrial:
        """The best trial; PathcastError where none came to an end."""
        study = self._study()
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            reasons = {str(trial.user_attrs.get(_REASON, "stopped")) for trial in self.ended()}
            raise PathcastError(f"no trial came to an end: {'; '.join(sorted(reasons)) or 'none was run'}")
        return study.best_trial

    def run(self, trials: int, parallel: int, on_trial: Callable[[FrozenTrial], None]) -> None:
        """Run until `trials` have ended, those before included; `on_trial` is told of each that ends.

        Raises PathcastError when a process that runs trials dies; the search can go on from there.
        """
        seen = {trial.number for trial in self.ended()}
        left = trials - len(seen)
        if left <= 0:
            return
        context = multiprocessing.get_context("spawn")
        tickets = context.Value("i", left)
        processes = [
            context.Process(target=_work, args=(self, tickets, number), daemon=True)
            for number in range(min(parallel, left))
        ]
        try:
            for process in processes:
                process.start()
            while any(process.is_alive() for process in processes):
                seen |= self._tell(seen, on_trial)
                time.sleep(_POLL_S)
            self._tell(seen, on_trial)
        finally:
            _end(processes)
        dead = [process.exitcode for process in processes if process.exitcode != 0]
        if dead:
            raise PathcastError(
                f"search {self.search.name}: {len(dead)} of {len(processes)} processes died (exit status {dead[0]})",
                hint="the trials that ended are kept: go on with --resume",
            )

    def _tell(self, seen: set[int], on_trial: Callable[[FrozenTrial], None]) -> set[int]:
        new = [trial for trial in self.ended() if trial.number not in seen]
        for trial in new:
            on_trial(trial)
        return {trial.number for trial in new}

    def _facts(self) -> dict[str, Any]:
        """What must be the same when the search goes on, as JSON keeps it."""
        facts = {**self.search.facts(), "fixed": dict(self.search.fixed), "searched": sorted(self._space)}
        return dict(json.loads(json.dumps(facts)))

    def _start(self) -> dict[str, Any]:
        """The settings as they are, of those that are searched."""
        return {name: value for name, value in self.search.start().items() if name in self._space}

    def _study(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(
            study_name=_STUDY,
            storage=JournalStorage(JournalFileBackend(str(self._folder / STUDY_FILE))),
            direction="maximize" if self.search.maximize else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS),
            load_if_exists=True,
        )

    def summary(self) -> dict[str, Any]:
        """What came out, for people and for JSON; PathcastError where no trial came to an end."""
        best, ended = self.best(), self.ended()
        states = [trial.state.name.lower() for trial in ended]
        # Not by its number: a trial that was killed has another when it is tried again.
        start = self._start().items()
        whole = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        as_they_were = [trial.value for trial in whole if start <= trial.params.items()]
        return {
            "family": self.search.name,
            "objective": self.search.value_name,
            "direction": "maximize" if self.search.maximize else "minimize",
            "best": best.value,
            "best_trial": best.number,
            "start": next(iter(as_they_were), None),
            "settings": {**self.search.fixed, **best.params},
            "trials": {state: states.count(state) for state in sorted(set(states))},
        }

    def work(self, take: Callable[[], bool], worker: int) -> None:
        """Run trials in this process as long as `take` gives one; `worker` tells its sampler from the others'."""
        study, trials, start = self._study(), self.search.open(), self._start().items()
        # With the trials so far in the seed: a search that goes on would draw its first trials once more.
        seed = np.random.SeedSequence([self._seed, worker, len(study.get_trials(deepcopy=False))])
        study.sampler = optuna.samplers.TPESampler(seed=int(seed.generate_state(1)[0]))

        def objective(trial: optuna.Trial) -> float:
            settings = suggest(self._space, trial)

            def report(step: int, value: float) -> None:
                trial.report(self._finite(value), step)
                # What all others are held against is to come to its end.
                if trial.should_prune() and not start <= trial.params.items():
                    raise optuna.TrialPruned

            try:
                return self._finite(trials.run(settings, report))
            except optuna.TrialPruned:
                raise
            except Exception as error:
                told = error.message if isinstance(error, PathcastError) else f"{type(error).__name__}: {error}"
                trial.set_user_attr(_REASON, told)
                raise

        while take():
            study.optimize(objective, n_trials=1, catch=(PathcastError,))

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            raise PathcastError(f"the {self.search.value_name} is {value}")
        return value


def _work(study: Study, tickets: Any, worker: int) -> None:
    study.work(partial(_take, tickets), worker)


def _take(tickets: Any) -> bool:
    with tickets.get_lock():
        tickets.value -= 1
        return bool(tickets.value >= 0)


def _end(processes: Sequence[SpawnProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join()


def _failed(trial: FrozenTrial) -> bool:
    """Whether it ended in an error; one that is about to has its reason a moment before."""
    return trial.state == TrialState.FAIL and _REASON in trial.user_attrs
