"""`pathcast tune FAMILY`: settings, searched by trials."""

from __future__ import annotations

import json as json_text
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pathcast import __version__
from pathcast.cli.key_values import pairs
from pathcast.cli.output_file import file_option, write_json, write_text
from pathcast.cli.pipeline_host import TRAIN_IMAGE
from pathcast.cli.train import TRACKING_VARIABLE, tracking_at
from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import STATE_DIR
from pathcast.training.katib import Trials
from pathcast.training.search_space import TRACKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from pathcast.training.family import Family
    from pathcast.training.tuning import Estimate, Search, Study
    from pathcast.training.tuning_runs import SearchRuns


def tune(
    family: str = typer.Argument(..., help="A model family such as forecaster, or `tracker`."),
    data: list[Path] = typer.Option(
        [], help="Raw or prepared data of the family; for the tracker MOT sequences, repeatable. Never test data."
    ),
    detections: list[str] = typer.Option(["det"], help="Tracker: folder, in or beside a sequence, of det.txt."),
    trials: int = typer.Option(30, min=1, help="How many settings are tried, those of a resumed search included."),
    parallel: int = typer.Option(1, min=1, help="Trials at a time, each a process."),
    threads: int = typer.Option(1, min=1, help="CPU threads of each."),
    fix: list[str] = typer.Option([], "--set", help="KEY=VALUE: a setting of all trials, not searched; repeatable."),
    option: list[str] = typer.Option([], help="KEY=VALUE: how raw data is prepared; repeatable."),
    output: Path | None = typer.Option(None, file_okay=False, help="Folder of the search; default: tune-FAMILY."),
    resume: bool = typer.Option(False, help="Go on with the search in the output folder."),
    price: float = typer.Option(0.0, min=0, help="What an hour of one trial's machine costs, for the estimate."),
    yes: bool = typer.Option(False, "--yes", "-y", help="Start without asking."),
    seed: int = typer.Option(1, min=0, help="Of the sampler; with several processes their order matters too."),
    mlflow: str | None = typer.Option(
        None, envvar=TRACKING_VARIABLE, help="Record here; default: the local platform's MLflow, if it is up."
    ),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="The local platform's state, to find its MLflow."),
    json: Path | None = file_option("Also write the figures to this file."),
    katib: Path | None = file_option("Search nothing: write the same search as an Experiment of Katib to this file."),
    image: str = typer.Option(
        f"pathcast-train:{__version__}", envvar=TRAIN_IMAGE, help="Katib: the image of its trials."
    ),
) -> None:
    """Search settings for the least validation score of a network, or the largest HOTA of the tracker.

    Prints what it will take before it starts: trials x time / parallel, with the time of a trial measured. The
    first trial is the settings as they are; trials that fall behind are stopped early. After a kill, --resume goes
    on.
    """
    console = Console()
    if katib is not None:
        _write_experiment(
            family, fix, detections, Trials(total=trials, parallel=parallel, threads=threads, image=image), katib
        )
        console.print(f"kubectl apply --filename {katib}", markup=False, highlight=False, soft_wrap=True)
        return
    if not data:
        raise InvalidInputError("--data: expected at least one folder to search on, got none")
    from pathcast.training.tuning import Study, check_folder

    target = output or Path(f"tune-{family.rpartition(':')[2]}")
    check_folder(target, resume=resume)
    fixed = pairs("--set", fix)
    search = _search(family, data, detections, fixed, pairs("--option", option), threads, target, resume)
    study = Study(search, target, seed=seed)
    study.check(resume=resume)
    left = max(trials - len(study.ended()), 0)
    with console.status("measuring how long a trial takes"):
        estimate = _estimate(left, parallel, threads, search.open().seconds())
    _announce(console, estimate, price)
    if not yes:
        typer.confirm("Start?", abort=True)
    uri = tracking_at(mlflow, state_dir, console)
    with study.held():
        study.open(resume=resume)
        runs = None if uri is None else _runs(uri, study, target)
        _run(console, study, trials, trials - left, parallel, runs)
    best = study.best()
    summary = study.summary()
    target.mkdir(parents=True, exist_ok=True)
    result = target / "best.json"
    result.write_text(json_text.dumps(summary, indent=2) + "\n", encoding="utf-8")
    pictures = study.plot(target / "plots")
    _report(console, search, summary, target)
    write_json(json, {**summary, **estimate.figures(price)})
    if runs is not None:
        runs.finish(best, [result, *pictures])


def _search(
    family: str,
    data: list[Path],
    detections: list[str],
    fixed: Mapping[str, Any],
    options: Mapping[str, Any],
    threads: int,
    target: Path,
    resume: bool,
) -> Search:
    if family == TRACKER:
        from pathcast.tracking.mot_sequences import find_sequences
        from pathcast.training.tracker_tuning import TrackerSearch

        return TrackerSearch(find_sequences(data), tuple(detections), fixed)
    if len(data) != 1:
        raise InvalidInputError(f"--data: expected one folder for {family}, got {len(data)}")
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.family import find_family, find_place

    find_place(family)
    use_tensorflow(threads)
    from pathcast.training.family_tuning import FamilySearch
    from pathcast.training.prepared import is_prepared

    folder = data[0]
    if not is_prepared(folder):
        folder = _prepared(find_family(family), folder, target / "data", options, resume)
    elif options:
        raise InvalidInputError(f"--option {', '.join(options)}: {folder} is prepared already; give the raw data")
    return FamilySearch(family, folder, fixed, threads)


def _prepared(family: Family, raw: Path, folder: Path, options: Mapping[str, Any], resume: bool) -> Path:
    """The raw data prepared in `folder`; where a search goes on, that must be what lies there already."""
    from tempfile import TemporaryDirectory

    from pathcast.training.prepared import is_prepared, open_prepared, prepare

    if not (resume and is_prepared(folder)):
        return prepare(family, raw, folder, options).folder
    with TemporaryDirectory(dir=folder.parent) as again:
        version = prepare(family, raw, Path(again) / folder.name, options).version
    if version != open_prepared(folder, family).version:
        raise InvalidInputError(
            f"{folder}: prepared from other data or with other options than those given",
            hint="give those that the search began with, or search in another --output",
        )
    return folder


def _runs(uri: SecretStr, study: Study, target: Path) -> SearchRuns:
    """The search in MLflow, with the trials of before."""
    from pathcast.training.tuning_runs import SearchRuns

    runs = SearchRuns(uri, study.search.name, study.search.value_name, target)
    for trial in study.ended():
        runs.add(trial)
    return runs


def _run(console: Console, study: Study, trials: int, ended: int, parallel: int, runs: SearchRuns | None) -> None:
    """Run until `trials` have ended, of which `ended` had before."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(study.search.name, total=trials, completed=ended)

        def tell(trial: Any) -> None:
            bar.advance(task)
            value = "" if trial.value is None else f" {study.search.value_name} {trial.value:.5g}"
            bar.console.print(f"trial {trial.number}: {trial.state.name.lower()}{value}", markup=False, highlight=False)
            if runs is not None:
                runs.add(trial)

        study.run(trials, parallel, tell)


def _write_experiment(family: str, fix: list[str], detections: list[str], trials: Trials, target: Path) -> None:
    import yaml

    from pathcast.training.katib import experiment, family_trial, tracker_trial

    fixed = pairs("--set", fix)
    trial = tracker_trial(fixed, detections) if family == TRACKER else family_trial(family, fixed, trials.threads)
    document = experiment(trial, fixed, trials)
    write_text(target, yaml.safe_dump(document, sort_keys=False, width=120))


def _estimate(trials: int, parallel: int, threads: int, trial_s: float) -> Estimate:
    from pathcast.training.tuning import Estimate

    together = min(parallel, max(trials, 1))
    return Estimate(trials, together, trial_s, max(1.0, together * threads / (os.cpu_count() or 1)))


def _announce(console: Console, estimate: Estimate, price: float) -> None:
    text = (
        f"{estimate.trials} trials x {estimate.trial_s:.1f} s / {estimate.parallel} at a time"
        f"{f' x {estimate.slowdown:.1f} for shared cores' if estimate.slowdown > 1 else ''}"
        f": {_duration(estimate.total_s)} at the most (trials that fall behind stop early); "
        f"{estimate.machine_hours:.2f} machine hours"
    )
    cost = f", {estimate.machine_hours * price:.2f} at {price:g} an hour" if price else "; give --price for the cost"
    console.print(text + cost, markup=False, highlight=False)


def _report(console: Console, search: Search, summary: Mapping[str, Any], target: Path) -> None:
    start = "" if summary["start"] is None else f" (settings as they were: {summary['start']:.5g})"
    counts = ", ".join(f"{count} {state}" for state, count in summary["trials"].items())
    console.print(
        f"best {search.value_name} {summary['best']:.5g} in trial {summary['best_trial']}{start}; {counts}; "
        f"plots and best.json in {target}",
        markup=False,
        highlight=False,
    )
    chosen = " ".join(f"--set {name}={json_text.dumps(value)}" for name, value in summary["settings"].items())
    use = "evaluate tracker" if search.name == TRACKER else f"train {search.name}"
    console.print(f"pathcast {use} {chosen}", markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _duration(3725.4)
    '1 h 2 min 5 s'
    >>> _duration(42)
    '42 s'
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "min"), (left, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{value} {unit}" for value, unit in parts)
