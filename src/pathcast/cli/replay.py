"""`pathcast replay`: a recorded interval through two versions of a model, side by side."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.moments import read_moment
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.core.settings import PlatformSettings
    from pathcast.registry.verdicts import Verdict
    from pathcast.serving.replay_diff import Matched, ReplayDiff
    from pathcast.training.replay import Interval

DEFAULT_MINUTES = 10.0


def replay(
    camera: list[str] = typer.Option([], help="Whose recording; may be repeated. Default: every camera's."),
    since: str | None = typer.Option(None, help="From this time on, ISO 8601 with zone."),
    until: str | None = typer.Option(None, help="Before this time; default: the end of the recording."),
    minutes: float = typer.Option(DEFAULT_MINUTES, min=0.1, help="Without --since: so much of the end."),
    model: str = typer.Option("forecaster", help="The family whose versions are compared: forecaster or detector."),
    version: int | None = typer.Option(None, help="The version to try; default: the challenger, or else the newest."),
    against: int | None = typer.Option(None, help="The version to compare with; default: the champion."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Run what cameras recorded through two versions and show what differs: detections, tracks, forecasts, errors.

    A forecaster is replayed on the detections that were stored, a detector on the archived frames; the rest is the
    analyzer's own code. Nothing is stored and nothing that serves is changed. The exit code is 1 where the version
    would not pass the replay gate of a promotion.
    """
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.settings import load_settings
    from pathcast.registry.gates import replay_gate
    from pathcast.training.family import find_family
    from pathcast.training.replay import replay_version

    span = _span(since, until)
    settings = load_settings(state_dir)
    family = find_family(model)
    versions = _versions(settings, family.name, version, against)
    intervals = _intervals(settings, camera, *span, minutes)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{family.name} {versions[0]} beside {versions[1]}", total=None)
        diff = replay_version(
            settings, model, *versions, intervals, advance=lambda frames: progress.advance(task, frames)
        )
    if diff is None or family.replay is None:
        Console().print("nothing recorded there", markup=False, highlight=False)
        raise typer.Exit(1)
    verdict = replay_gate(family.replay, diff)
    figures = as_mapping(diff, verdict, family.name, versions, intervals)
    _show(figures, diff, verdict)
    write_json(json, figures)
    if not verdict.passed:
        raise typer.Exit(1)


def as_mapping(
    diff: ReplayDiff, verdict: Verdict, model: str, versions: tuple[int, int], intervals: list[Interval]
) -> dict[str, Any]:
    """The figures for JSON; errors are in metres, for which `metres_per` takes frame heights."""

    def matched(counts: Matched) -> dict[str, int]:
        both = {"champion": counts.champion, "challenger": counts.challenger, "matched": counts.both}
        return {**both, "added": counts.added, "lost": counts.lost}

    figures: dict[str, Any] = {
        "model": model,
        "challenger": versions[0],
        "champion": versions[1],
        "intervals": [
            {"camera_id": each.camera_id, "since": each.since.isoformat(), "until": each.until.isoformat()}
            for each in intervals
        ],
        "frames": diff.frames,
        "detections": matched(diff.detections),
        "tracks": matched(diff.tracks),
        "track_boxes": matched(diff.boxes),
        "identity_agreement": diff.identity_agreement,
        "forecasts": matched(diff.forecasts),
        "windows": len(diff.errors),
        "passed": verdict.passed,
        "reason": verdict.reason,
    }
    if len(diff.errors):
        low, high = diff.errors.gain_interval()
        for index, name in enumerate(("ade", "fde")):
            for side in ("champion", "challenger", "constant_velocity"):
                figures[f"{side}_{name}"] = float(getattr(diff.errors, side)[:, index].mean())
            figures[f"{name}_gain_low"], figures[f"{name}_gain_high"] = float(low[index]), float(high[index])
    return figures


def _show(figures: dict[str, Any], diff: ReplayDiff, verdict: Verdict) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        title=f"{figures['model']} {figures['challenger']} beside {figures['champion']}: {diff.frames} frames"
    )
    for heading in ("", "champion", "challenger", "matched", "added", "lost"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in ("detections", "tracks", "track_boxes", "forecasts"):
        table.add_row(name.replace("_", " "), *(str(value) for value in figures[name].values()))
    console.print(table)
    if diff.identity_agreement is not None:
        console.print(f"identities agree on {diff.identity_agreement:.1%} of the boxes of both", highlight=False)
    if len(diff.errors):
        errors = Table(title=f"errors in metres on the same {len(diff.errors)} forecasts")
        for heading in ("", "champion", "challenger", "straight on", "gain, with 95% confidence"):
            errors.add_column(heading, justify="right" if heading else "left")
        for name in ("ade", "fde"):
            values = (figures[f"{side}_{name}"] for side in ("champion", "challenger", "constant_velocity"))
            low, high = figures[f"{name}_gain_low"], figures[f"{name}_gain_high"]
            errors.add_row(name.upper(), *(f"{value:.4f}" for value in values), f"{low:+.1%} to {high:+.1%}")
        console.print(errors)
    mark = "✓" if verdict.passed else "✗"
    console.print(f"{mark} {verdict.gate}: {verdict.reason}", markup=False, highlight=False)


def _versions(settings: PlatformSettings, model: str, version: int | None, against: int | None) -> tuple[int, int]:
    from pathcast.core.errors import InvalidInputError
    from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry

    registry = ModelRegistry(settings.mlflow_tracking_uri)
    known = [entry.version for entry in registry.versions(model)]
    champion = against if against is not None else registry.alias(model, CHAMPION)
    if champion is None:
        raise InvalidInputError(f"model {model}: no champion to compare with", hint="name a version with --against")
    chosen = version if version is not None else registry.alias(model, CHALLENGER) or known[-1]
    absent = sorted({chosen, champion} - set(known))
    if absent:
        raise InvalidInputError(f"model {model}: no version {absent[0]}; it has {', '.join(map(str, known)) or 'none'}")
    return chosen, champion


def _span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    first, last = (
        None if text is None else read_moment(name, text) for name, text in (("--since", since), ("--until", until))
    )
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter(f"--since: expected a time before --until, got {since!r} and {until!r}")
    return first, last


def _intervals(
    settings: PlatformSettings, cameras: list[str], first: datetime | None, last: datetime | None, minutes: float
) -> list[Interval]:
    from pathcast.core.errors import InvalidInputError
    from pathcast.storage.connection import connect
    from pathcast.training.replay import Interval, recorded_intervals

    length = timedelta(minutes=minutes)
    with connect(settings.database_url, application_name="replay") as connection:
        found = recorded_intervals(connection, cameras, length)
    absent = sorted(set(cameras) - {each.camera_id for each in found})
    if absent:
        raise InvalidInputError(
            f"camera {', '.join(absent)}: nothing was recorded", hint="see `pathcast scores --by camera`"
        )
    return [Interval(each.camera_id, first or (last or each.until) - length, last or each.until) for each in found]
