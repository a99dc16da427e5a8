"""How forecasts turned out, by model version, camera, class and hour, from the hourly aggregates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import psycopg
from psycopg import sql

from pathcast.core.errors import InvalidInputError
from pathcast.storage.connection import database_errors

HOUR = timedelta(hours=1)
Dimension = Literal["camera_id", "class_id", "hour"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
_ALWAYS = ("model", "model_version", "units")
_SUMS = (
    "scored",
    "ade",
    "fde",
    "best_ade",
    "best_fde",
    "constant_velocity_ade",
    "constant_velocity_fde",
    "track_ended",
    "ended_steps",
    "ended_error",
    "ended_constant_velocity_error",
)


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """Forecasts of one model version, and of one camera, class and hour where it was asked by them (else None).

    `made` = `scored` + `track_ended` + `open`: the track lived through the 4.8 s, it ended before, or it is
    not known yet (nor ever, where an analyzer lost its state). Errors are means in `units`: `ade` to
    `constant_velocity_fde` over the scored forecasts; `ended_error` and `ended_constant_velocity_error` are
    mean displacements over the steps that came of the ended ones, `ended_steps` steps each on average. None
    where nothing was counted.
    """

    model: str
    model_version: str
    units: str
    camera_id: str | None
    class_id: int | None
    hour: datetime | None
    made: int
    scored: int
    track_ended: int
    ade: float | None
    fde: float | None
    best_ade: float | None
    best_fde: float | None
    constant_velocity_ade: float | None
    constant_velocity_fde: float | None
    ended_steps: float | None
    ended_error: float | None
    ended_constant_velocity_error: float | None

    @property
    def open(self) -> int:
        return self.made - self.scored - self.track_ended

    @property
    def ended_share(self) -> float | None:
        """Of the forecasts whose end is known, the part whose track ended early."""
        known = self.scored + self.track_ended
        return self.track_ended / known if known else None


def read_score_summaries(
    connection: psycopg.Connection,
    since: datetime,
    until: datetime,
    *,
    by: Collection[Dimension] = ("camera_id", "class_id"),
    camera_id: str | None = None,
    model: str | None = None,
    model_version: str | None = None,
) -> list[ScoreSummary]:
    """The forecasts made in the hours that begin in [since, until), `since` rounded down to its hour.

    Always apart by model version and units, and by the dimensions in `by`; in order of these. Restricted to a
    camera, model or version where given.
    """
    unknown = set(by) - set(DIMENSIONS)
    if unknown:
        raise InvalidInputError(f"scores: expected to group by {', '.join(DIMENSIONS)}, got {sorted(unknown)}")
    chosen = [name for name in DIMENSIONS if name in by]
    keys = [*_ALWAYS, *chosen]
    statement = sql.SQL(
        "WITH turned_out AS ({turned_out}), counted AS ({counted}) "
        "SELECT {keys}, coalesce(made, 0), {sums} FROM turned_out FULL JOIN counted USING ({keys}) ORDER BY {order}"
    ).format(
        turned_out=_grouped("forecast_errors_hour", _SUMS, keys),
        counted=_grouped("forecasts_made_hour", ("made",), keys),
        keys=_names(keys),
        sums=_names(_SUMS),
        order=_names([*_ALWAYS[:2], *chosen, "units"]),
    )
    parameters = {
        "since": _hour_of(since),
        "until": until,
        "camera_id": camera_id,
        "model": model,
        "model_version": model_version,
    }
    with database_errors("read the forecast scores by hour"):
        rows = connection.execute(statement, parameters).fetchall()
    return [_summary(dict(zip([*keys, "made", *_SUMS], row, strict=True))) for row in rows]


def _grouped(view: str, sums: Collection[str], keys: Collection[str]) -> sql.Composed:
    return sql.SQL(
        "SELECT {keys}, {sums} FROM {view} WHERE hour >= %(since)s AND hour < %(until)s "
        "AND camera_id = coalesce(%(camera_id)s, camera_id) AND model = coalesce(%(model)s, model) "
        "AND model_version = coalesce(%(model_version)s, model_version) GROUP BY {keys}"
    ).format(
        keys=_names(keys),
        sums=sql.SQL(", ").join(sql.SQL("sum({name}) AS {name}").format(name=sql.Identifier(name)) for name in sums),
        view=sql.Identifier(view),
    )


def _names(names: Collection[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _summary(row: dict[str, Any]) -> ScoreSummary:
    scored, ended, steps = (int(row[name] or 0) for name in ("scored", "track_ended", "ended_steps"))
    weights = {**dict.fromkeys(_SUMS[1:7], scored), "ended_steps": ended, **dict.fromkeys(_SUMS[9:], steps)}
    fields: dict[str, Any] = {name: row.get(name) for name in (*_ALWAYS, *DIMENSIONS)}
    fields |= {name: float(row[name]) / weight if weight else None for name, weight in weights.items()}
    # A recorder that began later has scores without their forecasts.
    made = max(int(row["made"]), scored + ended)
    return ScoreSummary(made=made, scored=scored, track_ended=ended, **fields)
