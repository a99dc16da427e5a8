"""`pathcast evaluate actions`: how well actions are told, and what choosing frames gains and saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.evaluate import app
from pathcast.cli.recognition_report import report

if TYPE_CHECKING:
    from pathcast.training.actions_trials import Trial


@app.command("actions", epilog="Example: pathcast evaluate actions --data fights --folds 5 --json actions.json")
def evaluate_actions(
    data: Path = typer.Option(
        ..., help="Folders of actions with clips (videos, or strips of square frames), or UCF101's folders and lists."
    ),
    model: Path | None = typer.Option(None, help="A served file to score, instead of --folds or --leave-one-out."),
    folds: int = typer.Option(0, min=0, help="Train so many times, each time without a fold of clips; score these."),
    leave_one_out: bool = typer.Option(False, help="Train once for each file name (an actor), without its clips."),
    change: list[str] = typer.Option([], "--set", help="KEY=VALUE: another setting of the training; repeatable."),
    option: list[str] = typer.Option([], help="KEY=VALUE: how the clips are prepared; repeatable."),
    threads: int = typer.Option(1, min=1, help="CPU threads."),
    plots: Path | None = typer.Option(None, help="Folder for the confusion matrix."),
    json: Path | None = typer.Option(None, help="Write the scores to this file."),
) -> None:
    """Score action recognition by clip.

    With --folds or --leave-one-out, models that are trained here without the clips that they judge; cuts of one
    recording stay in one fold. Then SMART's choice of frames is held against frames evenly spread, drawn at random,
    and all of them, by the same recogniser, with the multiply-adds of each. Else a served file, on all of the data.
    """
    from pathcast.cli.train import pairs
    from pathcast.core.errors import InvalidInputError
    from pathcast.recognition.classification import score

    if sum(map(bool, (model, folds, leave_one_out))) != 1:
        raise InvalidInputError("expected one of --model, --folds and --leave-one-out: what is to be judged")
    options, changes = pairs("--option", option), pairs("--set", change)
    if model is None:
        trial = _trained(data, folds, options, changes, threads)
        smart = score(trial.probabilities["smart"], trial.labels, trial.classes)
        title = f"actions, {f'{folds} folds' if folds else 'one left out'}"
        report(title, smart, 1 / trial.seconds_per_clip, json, plots, _compare(trial))
    else:
        _score_file(data, model, options, json, plots)


def _trained(data: Path, folds: int, options: dict[str, Any], changes: dict[str, Any], threads: int) -> Trial:
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.training.backend import use_tensorflow

    use_tensorflow(threads)
    from pathcast.training import actions_trials

    wanted = actions_trials.folds(folds, options) if folds else actions_trials.each_left_out(data, options)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("trainings", total=len(wanted))
        return actions_trials.cross_validate(
            data, wanted, changes, on_part=lambda done, _: progress.update(task, completed=done)
        )


def _compare(trial: Trial) -> dict[str, Any]:
    """Print the ways of choosing frames side by side; their figures for the JSON."""
    from rich.console import Console
    from rich.table import Table

    from pathcast.recognition.classification import balanced_accuracy, bootstrap_interval

    said = {way: values.argmax(axis=1) for way, values in trial.probabilities.items()}

    def balanced(way: str, chosen: Any) -> float:
        return balanced_accuracy(said[way][chosen], trial.labels[chosen])

    every = range(len(trial.labels))
    table = Table(title="frames chosen by")
    for heading in ("", "balanced accuracy", "95%", "MMAC a clip", "of all"):
        table.add_column(heading, justify="right" if heading else "left")
    ways = {}
    for way in said:
        value = balanced(way, list(every))
        low, high = bootstrap_interval(lambda chosen, way=way: balanced(way, chosen), len(every))  # type: ignore[misc]
        cost = trial.multiply_adds[way]
        share = cost / trial.multiply_adds["all"]
        table.add_row(way, f"{value:.2%}", f"{low:.2%} to {high:.2%}", f"{cost / 1e6:.0f}", f"{share:.1%}")
        ways[way] = {"balanced_accuracy": value, "interval": (low, high), "multiply_adds": cost, "compute_ratio": share}
    gain = balanced("smart", list(every)) - balanced("uniform", list(every))
    low, high = bootstrap_interval(lambda chosen: balanced("smart", chosen) - balanced("uniform", chosen), len(every))
    console = Console(emoji=False)
    console.print(table)
    console.print(f"SMART over evenly spread: {100 * gain:+.2f} points (95%: {100 * low:+.2f} to {100 * high:+.2f})")
    return {"frames_chosen_by": ways, "gain_over_uniform": gain, "gain_interval": (low, high)}


def _score_file(data: Path, model: Path, options: dict[str, Any], json: Path | None, plots: Path | None) -> None:
    import time

    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.recognition.classification import score
    from pathcast.recognition.clips import find_clips, read_frames
    from pathcast.serving.action_model import ActionFile

    recogniser = ActionFile(model)
    found = find_clips(data, **options)
    if unseen := sorted(set(found.classes) - set(recogniser.classes)):
        raise InvalidInputError(
            f"{data}: class {', '.join(unseen)}: {model} was trained for {', '.join(recogniser.classes)} alone",
            hint="pathcast train actions trains for the classes of the data",
        )
    probabilities, seconds = [], 0.0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for file in progress.track(found.files, description="recognising"):
            frames = recogniser.fitted(read_frames(file.path, recogniser.frames, recogniser.size))
            started = time.perf_counter()
            probabilities.append(recogniser(frames[None])[0])
            seconds += time.perf_counter() - started
    labels = np.array([recogniser.classes.index(file.label) for file in found.files])
    scores = score(np.stack(probabilities), labels, recogniser.classes)
    report(f"actions, {model}", scores, len(labels) / seconds, json, plots)
