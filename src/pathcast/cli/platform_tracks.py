"""`--data platform`: what the platform's own cameras saw, as raw data of the forecaster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import load_settings

NAME = "platform"
FAMILY = "forecaster"
DEFAULT_DAYS = 7.0
_QUALITY = ("min_steps", "max_speed_per_s", "max_standing_share")
_SELECTION = ("class_ids", "units")

CAMERAS = typer.Option(None, help="With --data platform: these cameras, separated by commas; default: all.")
DAYS = typer.Option(None, help=f"With --data platform: the last days; default: {DEFAULT_DAYS:g}.")
SINCE = typer.Option(None, help="With --data platform: from this time on, ISO 8601 with zone, instead of --days.")
UNTIL = typer.Option(None, help="With --data platform: before this time, ISO 8601 with zone; now by default.")


def raw_data(
    data: Path,
    family: str,
    folder: Path,
    state_dir: Path,
    console: Console,
    *,
    cameras: str | None,
    days: float | None,
    since: str | None,
    until: str | None,
    options: Mapping[str, Any],
) -> tuple[Path, dict[str, Any]]:
    """What to prepare, and the options for that; `data` and `options` as they are, unless `data` is `platform`.

    Then the selected tracks are read from the database into `folder`. Of `options`, `class_ids` and `units` choose
    among them and are used up; the quality of tracks counts here already. Raises InvalidInputError where the choice
    makes no sense or gives nothing.
    """
    asked = {"--cameras": cameras, "--days": days, "--since": since, "--until": until}
    given = [name for name, value in asked.items() if value is not None]
    if str(data) != NAME or data.exists():
        if given:
            raise InvalidInputError(f"{', '.join(given)}: only with --data {NAME}, got --data {data}")
        return data, dict(options)
    if family != FAMILY:
        raise InvalidInputError(f"--data {NAME}: expected family {FAMILY}, got {family}")
    if since is not None and days is not None:
        raise InvalidInputError("--days, --since: give one of the two")
    try:
        from pathcast.storage.connection import connect
        from pathcast.storage.training_tracks import TrackSelection, select_tracks
    except ModuleNotFoundError as error:
        raise PathcastError(
            f"--data {NAME}: reading the database needs {error.name}", hint="pip install 'pathcast[stream]'"
        ) from error
    from pathcast.forecasting.quality import TrackQuality

    end = datetime.now(tz=UTC) if until is None else _moment("--until", until)
    chosen: dict[str, Any] = {
        "cameras": tuple(name for name in (cameras or "").split(",") if name),
        "class_ids": _class_ids(options.get("class_ids", [])),
        "units": options.get("units"),
        "quality": TrackQuality(**{name: options[name] for name in _QUALITY if name in options}),
    }
    if since is None:
        selection = TrackSelection.last_days(DEFAULT_DAYS if days is None else days, end, **chosen)
    else:
        selection = TrackSelection(_moment("--since", since), end, **chosen)
    settings = load_settings(state_dir)
    with connect(settings.database_url, application_name="train") as connection, Progress(console=console) as bar:
        task = bar.add_task("reading tracks", total=1.0)
        card = select_tracks(connection, selection, folder, progress=lambda share: bar.update(task, completed=share))
    console.print(
        f"{card.windows} windows of {card.tracks} tracks of {len(card.recordings)} cameras; their card: "
        f"{folder / 'tracks.md'}",
        markup=False,
        highlight=False,
    )
    return folder, {name: value for name, value in options.items() if name not in _SELECTION}


def _class_ids(value: Any) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(each, int) for each in ids):
        raise InvalidInputError(f"--option class_ids={value}: expected whole numbers, as [0, 2]")
    return tuple(ids)


def _moment(option: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"{option} {text}: expected ISO 8601: {error}") from error
    if moment.tzinfo is None:
        raise InvalidInputError(f"{option} {text}: expected a time with its zone, as 2026-05-01T12:00Z")
    return moment.astimezone(UTC)
