"""`pathcast scores`: how the platform's own forecasts turned out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.moments import read_moment
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.storage.scores import Dimension, ScoreSummary


class By(StrEnum):
    """What forecasts are told apart by, besides the model version."""

    camera = "camera"
    object_class = "class"
    hour = "hour"


def scores(
    hours: float = typer.Option(24.0, min=0.01, max=1e6, help="Look back this far; whole hours are shown."),
    until: str | None = typer.Option(None, help="End of the span, ISO 8601 with zone; now by default."),
    by: list[By] = typer.Option([By.camera, By.object_class], help="A row for each of these; may be given often."),
    camera: str | None = typer.Option(None, help="Forecasts of this camera alone."),
    model: str | None = typer.Option(None, help="Forecasts of this model alone."),
    model_version: str | None = typer.Option(None, help="Forecasts of this version alone."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Show the forecasts' own errors, by model version, camera and class, beside walking straight on.

    Every forecast is scored 4.8 s later by the track that really came. Where the track ended before, the
    forecast is counted, with its mean error over the steps that came; open ones are not due yet.
    """
    end = datetime.now(tz=UTC) if until is None else read_moment("--until", until)
    start = end - timedelta(hours=hours)

    from pathcast.core.settings import load_settings
    from pathcast.storage.connection import connect
    from pathcast.storage.scores import read_score_summaries

    dimensions: dict[By, Dimension] = {By.camera: "camera_id", By.object_class: "class_id", By.hour: "hour"}
    with connect(load_settings(state_dir).database_url, application_name="scores") as connection:
        summaries = read_score_summaries(
            connection,
            start,
            end,
            by=[dimensions[each] for each in by],
            camera_id=camera,
            model=model,
            model_version=model_version,
        )
    _print(summaries, start, end, by)
    if json is not None:
        report = {
            "since": start.isoformat(),
            "until": end.isoformat(),
            "forecasts": sum(each.made for each in summaries),
            "rows": [as_mapping(each) for each in summaries],
        }
        write_json(json, report)


def as_mapping(summary: ScoreSummary) -> dict[str, Any]:
    """A row for JSON: lengths carry their unit in the key (`ade_m`, `ade_frame_heights`)."""
    lengths = {
        f"{name}_{summary.units}": getattr(summary, name)
        for name in (
            "ade",
            "fde",
            "best_ade",
            "best_fde",
            "constant_velocity_ade",
            "constant_velocity_fde",
            "ended_error",
            "ended_constant_velocity_error",
        )
    }
    return {
        "model": summary.model,
        "model_version": summary.model_version,
        "camera_id": summary.camera_id,
        "class_id": summary.class_id,
        "hour": None if summary.hour is None else summary.hour.isoformat(),
        "units": summary.units,
        "made": summary.made,
        "scored": summary.scored,
        "track_ended": summary.track_ended,
        "open": summary.open,
        "track_ended_share": summary.ended_share,
        "ended_steps": summary.ended_steps,
        **lengths,
    }


def _print(summaries: list[ScoreSummary], start: datetime, end: datetime, by: list[By]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pathcast.detection.classes import CLASS_NAMES

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    if not summaries:
        console.print(f"No forecasts from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC.")
        return
    table = Table(title=f"Forecasts made from {start:%Y-%m-%d %H}:00 to {end:%Y-%m-%d %H:%M} UTC")
    table.add_column("model")
    for each in By:
        if each in by:
            table.add_column(each.value)
    for heading in ("made", "scored", "ADE / FDE", "straight on", "track ended", "their error", "open"):
        table.add_column(heading, justify="right")
    for row in summaries:
        known = row.class_id is not None and 0 <= row.class_id < len(CLASS_NAMES)
        labels = {
            By.camera: row.camera_id,
            By.object_class: CLASS_NAMES[row.class_id or 0] if known else str(row.class_id),
            By.hour: None if row.hour is None else f"{row.hour:%m-%d %H}:00",
        }
        table.add_row(
            f"{row.model} {row.model_version}",
            *(labels[each] for each in By if each in by),
            str(row.made),
            str(row.scored),
            _lengths(row.units, row.ade, row.fde),
            _lengths(row.units, row.constant_velocity_ade, row.constant_velocity_fde),
            "0" if not row.track_ended else f"{row.track_ended} ({row.ended_share or 0:.0%})",
            "" if row.ended_error is None else f"{_lengths(row.units, row.ended_error)} in {row.ended_steps:.1f} steps",
            str(row.open),
        )
    console.print(table)


def _lengths(units: str, *values: float | None) -> str:
    shown = " / ".join(f"{value:.3f}" for value in values if value is not None)
    return f"{shown} {'m' if units == 'm' else 'heights'}" if shown else ""
