"""`pathcast train FAMILY`: models from data, in one process or several."""

from __future__ import annotations

import json as json_text
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pathcast.cli import platform_tracks
from pathcast.cli.key_values import pairs
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import STATE_DIR, load_settings

if TYPE_CHECKING:
    from pydantic import SecretStr

    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.loop import EpochReport
    from pathcast.training.place import Place
    from pathcast.training.train_family import Job, Watcher

TRACKING_VARIABLE = "PATHCAST_MLFLOW_TRACKING_URI"


def train(
    family: str = typer.Argument(..., help="Which kind of model, such as forecaster; or package.module:NAME."),
    data: Path = typer.Option(
        ...,
        help="Raw data in a layout that the family reads, a folder prepared from it, or 'platform': its own tracks.",
    ),
    output: Path | None = typer.Option(
        None, file_okay=False, help="Folder for weights.npz and model.json; default: the family's name."
    ),
    workers: int = typer.Option(1, min=1, help="Processes that train together on this machine, a core or more each."),
    threads: int = typer.Option(0, min=0, help="CPU threads of each; 0: one per core, or 1 for each of many workers."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the data."),
    batch_size: int | None = typer.Option(None, min=1, help="Samples of a step, of all workers together."),
    accumulate: int | None = typer.Option(None, min=1, help="Pieces that each worker cuts its part of a batch into."),
    precision: str | None = typer.Option(None, help="float32, bfloat16 or float16 (with a loss scale that adapts)."),
    seed: int | None = typer.Option(None, min=0, help="Seed of the weights, the order and the variations."),
    change: list[str] = typer.Option([], "--set", help="KEY=VALUE: another setting of training or family; repeatable."),
    option: list[str] = typer.Option([], help="KEY=VALUE: how raw data is prepared; repeatable."),
    held_out: str | None = typer.Option(None, help="Leave this scene out: the same as --option held_out=SCENE."),
    cameras: str | None = platform_tracks.CAMERAS,
    days: float | None = platform_tracks.DAYS,
    since: str | None = platform_tracks.SINCE,
    until: str | None = platform_tracks.UNTIL,
    init: Path | None = typer.Option(None, help="Start from the weights in this folder instead of at random."),
    resume: bool = typer.Option(False, help="Go on from the checkpoint in the output folder, if there is one."),
    restarts: int = typer.Option(0, min=0, help="With --workers: so many times, go on when a worker was killed."),
    mlflow: str | None = typer.Option(
        None,
        envvar=TRACKING_VARIABLE,
        help="MLflow server to record the run at; default: the local platform's, if it is up.",
    ),
    state_dir: Path = typer.Option(
        STATE_DIR, file_okay=False, help="The local platform's state, to find its MLflow and its database."
    ),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Train a model; the best epoch on the validation part is kept.

    With --workers N, N processes share every batch and give the same model as one. Where TF_CONFIG is set (a
    TFJob's pod), this process is one of the workers that it names. A checkpoint is kept in the output folder until
    the training is done; --resume goes on from it after a kill, with any number of workers.
    """
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.family import find_place
    from pathcast.training.launcher import EVENTS_VARIABLE
    from pathcast.training.place import VARIABLE, read_place
    from pathcast.training.prepared import is_prepared

    find_place(family)
    target = output or Path(family.rpartition(":")[2])
    if target.exists() and not target.is_dir():
        raise InvalidInputError(f"--output {target}: expected a folder, got a file")
    named = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate, "precision": precision, "seed": seed}
    changes = {**pairs("--set", change), **{name: value for name, value in named.items() if value is not None}}
    options = {**pairs("--option", option), **({} if held_out is None else {"held_out": held_out})}
    place = read_place(os.environ.get(VARIABLE))
    if place is not None and workers > 1:
        raise InvalidInputError(f"--workers {workers}: TF_CONFIG already names {place.share.count} workers")
    if place is not None and EVENTS_VARIABLE in os.environ:
        from pathcast.training.worker_process import end_with_the_launcher

        end_with_the_launcher()
    several = place is not None or workers > 1
    use_tensorflow(threads or int(several))
    console = Console(emoji=False)
    if place is not None:
        _work(place, family, data, target, changes, options, init, resume, tracking_at(mlflow, None, console))
        return
    if not resume:
        from pathcast.training.train_family import refuse_unfinished

        # Before the data is prepared, or what an unfinished training goes on with would be replaced.
        refuse_unfinished(target)
    if resume and str(data) == platform_tracks.NAME and is_prepared(target / "data"):
        # The platform has seen more by now; what was begun goes on with what it began with.
        data, options = target / "data", {}
    else:
        data, options = platform_tracks.raw_data(
            *(data, family, target / "tracks", state_dir, console),
            cameras=cameras,
            days=days,
            since=since,
            until=until,
            options=options,
        )
    job = _job(family, data, target, changes, options, init)
    tracking = tracking_at(mlflow, state_dir, console)
    console.print(
        f"{family}: data {job.data.version[:12]} in {job.data.folder}", markup=False, highlight=False, emoji=False
    )
    with Progress(
        *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn()),
        console=console,
    ) as bar:
        shown = _Bar(bar, job.training.epochs)
        if workers > 1:
            model = _launch(
                family, job, workers, threads or 1, changes, init, resume, restarts, tracking, shown, console
            )
        else:
            from pathcast.training.train_family import train_family

            model = train_family(job, watcher=_watchers(shown, tracking, job), resume=resume)
    _report(model, target, console, json)


def _job(
    family: str,
    data: Path,
    output: Path,
    changes: Mapping[str, Any],
    options: Mapping[str, Any],
    init: Path | None,
    *,
    may_prepare: bool = True,
) -> Job:
    """The training as asked for; raw data is prepared first, in `output`/data."""
    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.family import find_family
    from pathcast.training.prepared import is_prepared, open_prepared, prepare
    from pathcast.training.train_family import Job, settings_before

    found = find_family(family)
    initial = None if init is None else TrainedModel.load(init, found.name)
    # Before the data is prepared, which takes its time.
    settings_before(found, changes, initial)
    if is_prepared(data):
        if options:
            raise InvalidInputError(f"--option {', '.join(options)}: {data} is prepared already; give the raw data")
        prepared = open_prepared(data, found)
    elif may_prepare:
        prepared = prepare(found, data, output / "data", options)
    else:
        raise InvalidInputError(
            f"--data {data}: expected a prepared folder, since several workers read it",
            hint="prepare it in an earlier step, once for all workers",
        )
    return Job.of(found, prepared, output, changes, initial)


def _work(
    place: Place,
    family: str,
    data: Path,
    output: Path,
    changes: Mapping[str, Any],
    options: Mapping[str, Any],
    init: Path | None,
    resume: bool,
    tracking: SecretStr | None,
) -> None:
    """Be one worker of several."""
    from pathcast.training.launcher import EVENTS_VARIABLE, LOST_PEER_EXIT
    from pathcast.training.workers import WorkerLostError, connect

    workers = connect(place)
    # TensorFlow's server would catch it, and a pod that is stopped would wait for its grace period to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from pathcast.training.train_family import train_family
    from pathcast.training.worker_process import EventWriter, LineWriter

    job = _job(family, data, output, changes, options, init, may_prepare=False)
    events = int(os.environ.get(EVENTS_VARIABLE, "-1"))
    shown: Watcher = EventWriter(events) if events >= 0 else LineWriter(sys.stdout)
    watcher = _watchers(shown, tracking, job) if workers.is_chief else shown
    code = 0
    try:
        train_family(job, workers=workers, watcher=watcher, resume=resume)
    except PathcastError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, emoji=False)
        code = LOST_PEER_EXIT if isinstance(error, WorkerLostError) else 1
    # TensorFlow's server waits in an orderly end for workers that are gone, or falls over those that are going.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _launch(
    family: str,
    job: Job,
    workers: int,
    threads: int,
    changes: Mapping[str, Any],
    init: Path | None,
    resume: bool,
    restarts: int,
    tracking: SecretStr | None,
    shown: _Bar,
    console: Console,
) -> TrainedModel:
    """Start the workers, and start them again while they may be."""
    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.launcher import WorkersFailedError, launch
    from pathcast.training.train_family import finished_model

    if resume:
        finished = finished_model(job)
        if finished is not None:
            return finished
    argv = [sys.executable, "-m", "pathcast", "train", family, f"--threads={threads}"]
    argv += [f"--data={job.data.folder}", f"--output={job.output}"]
    argv += [f"--set={name}={json_text.dumps(value)}" for name, value in changes.items()]
    argv += [] if init is None else [f"--init={init}"]
    # Addresses with passwords go by the environment: others can read the arguments.
    environment = {name: value for name, value in os.environ.items() if name != TRACKING_VARIABLE}
    if tracking is not None:
        environment[TRACKING_VARIABLE] = tracking.get_secret_value()
    for left in range(restarts, -1, -1):
        try:
            launch(
                [*argv, "--resume"] if resume else argv,
                workers,
                logs=job.output / "logs",
                threads=threads,
                environment=environment,
                on_event=shown.event,
            )
            break
        except WorkersFailedError as error:
            if not (error.retryable and left):
                raise
            console.print(
                f"{error}\nstarting all workers again", style="yellow", markup=False, highlight=False, emoji=False
            )
            resume = True
    return TrainedModel.load(job.output, job.family.name)


def tracking_at(given: str | None, state_dir: Path | None, console: Console) -> SecretStr | None:
    """Where runs are recorded, if anywhere: as asked for, or at the local platform's MLflow when it answers."""
    from pydantic import SecretStr

    if given is not None:
        if urlsplit(given).scheme in ("", "file", "sqlite"):
            raise InvalidInputError(
                "--mlflow: expected the address of an MLflow server, got a local store",
                hint="pathcast up starts a server, and runs are recorded there without --mlflow",
            )
        return SecretStr(given)
    if state_dir is None:
        return None
    try:
        uri = load_settings(state_dir).mlflow_tracking_uri
    except PathcastError:
        return None
    from pathcast.training.runs import reachable

    if reachable(uri):
        return uri
    console.print("the local platform's MLflow does not answer; this run is not recorded", style="yellow")
    return None


def _watchers(shown: Watcher, tracking: SecretStr | None, job: Job) -> Watcher:
    if tracking is None:
        return shown
    from pathcast.training.runs import RunWatcher
    from pathcast.training.train_family import Watchers

    return Watchers(shown, RunWatcher(tracking, job.output, job.data.folder))


class _Bar:
    """A training's watcher that moves a progress bar; `event` does the same from another process.

    Where nobody sees the bar, as in a container's log, each epoch is a line.
    """

    def __init__(self, bar: Progress, epochs: int) -> None:
        self._bar, self._epochs = bar, epochs
        self._task = bar.add_task("training", total=None, state="starting")

    def started(self, record: Mapping[str, Any]) -> None:
        self._bar.update(self._task, state=f"epoch 0/{self._epochs}")

    def stepped(self, done: int, steps: int) -> None:
        self._bar.update(self._task, completed=done, total=steps)

    def epoch_ended(self, report: EpochReport) -> None:
        self._show(report.epoch, report.loss, report.figures["score"])

    def finished(self, folder: Path, model: TrainedModel) -> None:
        return

    def event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "stepped":
            self.stepped(event["done"], event["steps"])
        elif event["event"] == "epoch_ended":
            report = event["report"]
            self._show(report["epoch"], report["loss"], report["figures"]["score"])

    def _show(self, epoch: int, loss: float, score: float) -> None:
        self._bar.update(self._task, state=f"epoch {epoch}/{self._epochs} loss {loss:.4g} score {score:.4g}")
        if not self._bar.console.is_terminal:
            line = f"epoch {epoch}/{self._epochs}: loss {loss:.4g}, score {score:.4g}"
            self._bar.console.print(line, markup=False, highlight=False)


def _report(model: TrainedModel, output: Path, console: Console, json: Path | None) -> None:
    record = model.record
    figures = ", ".join(f"{name} {value:.4g}" for name, value in record["val"].items())
    console.print(
        f"epoch {record['best_epoch']} of {record['epochs_run']} kept, {record['seconds_per_epoch']:.2f} s an epoch; "
        f"validation: {figures}; saved in {output}",
        markup=False,
        highlight=False,
    )
    if json is not None:
        names = ("family", "workers", "data_version", "epochs_run", "best_epoch", "seconds_per_epoch", "losses")
        summary = {name: record[name] for name in (*names, "val_start", "val")}
        write_json(json, summary)
