"""`pathcast evaluate actions`: how well actions are told, and what choosing frames gains and saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.evaluate import app
from pathcast.cli.output_file import file_option
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
    deals: int = typer.Option(1, min=1, help="With --folds: deal the clips to folds so many times, by other seeds."),
    leave_one_out: bool = typer.Option(False, help="Train once for each file name (an actor), without its clips."),
    change: list[str] = typer.Option([], "--set", help="KEY=VALUE: another setting of the training; repeatable."),
    option: list[str] = typer.Option([], help="KEY=VALUE: how the clips are prepared; repeatable."),
    threads: int = typer.Option(1, min=1, help="CPU threads."),
    plots: Path | None = typer.Option(None, file_okay=False, help="Folder for the confusion matrix."),
    json: Path | None = file_option("Write the scores to this file."),
) -> None:
    """Score action recognition by clip.

    With --folds or --leave-one-out, models that are trained here without the clips that they judge; cuts of one
    recording stay in one fold. SMART's choice of frames is held against frames evenly spread, drawn at random, and all
    of them, each by a recogniser that learned from such frames, with the multiply-adds of each. Clips are few, and by
    one deal chance decides: with --deals figures are means over deals, the scores by class those of the first.
    Else a served file, on all of the data.
    """
    from pathcast.cli.key_values import pairs
    from pathcast.core.errors import InvalidInputError
    from pathcast.recognition.classification import score

    if sum(map(bool, (model, folds, leave_one_out))) != 1:
        raise InvalidInputError("expected one of --model, --folds and --leave-one-out: what is to be judged")
    if deals > 1 and not folds:
        raise InvalidInputError(f"--deals {deals}: expected --folds, which are what is dealt")
    options, changes = pairs("--option", option), pairs("--set", change)
    if model is None:
        trials = _trained(data, folds, deals, options, changes, threads)
        first = trials[0]
        smart = score(first.probabilities["smart"], first.labels, first.classes)
        title = f"actions, {f'{folds} folds' if folds else 'one left out'}{', first deal' if deals > 1 else ''}"
        report(title, smart, 1 / first.seconds_per_clip, json, plots, _compare(trials))
    else:
        _score_file(data, model, options, json, plots)


def _trained(
    data: Path, folds: int, deals: int, options: dict[str, Any], changes: dict[str, Any], threads: int
) -> list[Trial]:
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.training.backend import use_tensorflow

    use_tensorflow(threads)
    from pathcast.training import actions_trials

    if folds:
        wanted = [actions_trials.folds(folds, each) for each in actions_trials.deals(deals, options)]
    else:
        wanted = [actions_trials.each_left_out(data, options)]
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("trainings", total=sum(map(len, wanted)) * len(actions_trials.WAYS))
        return [
            actions_trials.cross_validate(data, each, changes, on_part=lambda: progress.advance(task))
            for each in wanted
        ]


def _compare(trials: list[Trial]) -> dict[str, Any]:
    """Print the ways of choosing frames side by side, means over deals; their figures for the JSON."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from pathcast.recognition.classification import balanced_accuracy, bootstrap_interval

    first, every = trials[0], np.arange(len(trials[0].labels))
    said = {way: [trial.probabilities[way].argmax(axis=1) for trial in trials] for way in first.probabilities}

    def by_deal(way: str, clips: Any) -> list[float]:
        return [balanced_accuracy(each[clips], first.labels[clips]) for each in said[way]]

    def mean(way: str, clips: Any) -> float:
        return float(np.mean(by_deal(way, clips)))

    table = Table(title="frames chosen by")
    for heading in ("", "balanced accuracy", "95%", "deals", "MMAC a clip", "of all"):
        table.add_column(heading, justify="right" if heading else "left")
    ways = {}
    for way in said:
        value, deals = mean(way, every), by_deal(way, every)
        low, high = bootstrap_interval(lambda clips, way=way: mean(way, clips), len(every))  # type: ignore[misc]
        cost = first.multiply_adds[way]
        share = cost / first.multiply_adds["all"]
        spread = f"{min(deals):.1%} to {max(deals):.1%}"
        table.add_row(way, f"{value:.2%}", f"{low:.2%} to {high:.2%}", spread, f"{cost / 1e6:.0f}", f"{share:.1%}")
        ways[way] = {
            "balanced_accuracy": value,
            "by_deal": deals,
            "interval": (low, high),
            "multiply_adds": cost,
            "compute_ratio": share,
        }
    gains = [one - other for one, other in zip(by_deal("smart", every), by_deal("uniform", every), strict=True)]
    low, high = bootstrap_interval(lambda clips: mean("smart", clips) - mean("uniform", clips), len(every))
    console = Console(emoji=False)
    console.print(table)
    console.print(
        f"SMART over evenly spread: {100 * np.mean(gains):+.2f} points (95%: {100 * low:+.2f} to {100 * high:+.2f}; "
        f"ahead in {sum(gain > 0 for gain in gains)} of {len(gains)} deals)"
    )
    gain = {"gain_over_uniform": float(np.mean(gains)), "gain_by_deal": gains, "gain_interval": (low, high)}
    return {"frames_chosen_by": ways, **gain}


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
