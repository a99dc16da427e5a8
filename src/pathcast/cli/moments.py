"""Times as options of commands."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def read_moment(option: str, text: str) -> datetime:
    """The time, aware UTC; wrong usage where it is no ISO 8601 with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: expected ISO 8601, got {text!r}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{option}: expected a time with its zone, as 2026-05-01T12:00Z, got {text!r}")
    return moment.astimezone(UTC)
