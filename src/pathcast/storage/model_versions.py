"""The model versions that made rows, and what each learned from: the end of the lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pathcast.core.errors import InvalidInputError
from pathcast.storage.connection import database_errors

PLATFORM_LAYOUT = "platform"
"""The layout that the data card of stored tracks names."""


@dataclass(frozen=True, slots=True)
class TrainingTracks:
    """A version learned from `track_count` tracks of `camera_id` in since ≤ captured_at < until."""

    camera_id: str
    since: datetime
    until: datetime
    track_count: int


@dataclass(frozen=True, slots=True)
class StoredModelVersion:
    """A version of a model as the lineage knows it.

    `sha256` is the hex digest of the served file. `data_card` describes the training data; `training_tracks`
    names the stored tracks among it, and need not be given where the card is that of stored tracks.
    """

    model: str
    version: str
    sha256: str
    data_card: Mapping[str, Any] = field(default_factory=dict)
    training_tracks: Sequence[TrainingTracks] = ()


def training_tracks_of(card: Mapping[str, Any]) -> tuple[TrainingTracks, ...]:
    """The stored tracks that a data card names: a part for each camera; none where the data is from elsewhere."""
    if card.get("layout") != PLATFORM_LAYOUT:
        return ()
    try:
        since, until = (datetime.fromisoformat(card["selection"][name]) for name in ("since", "until"))
        return tuple(TrainingTracks(each["name"], since, until, each["tracks"]) for each in card["recordings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"data card of the platform's tracks: expected since, until and recordings: {error!r}"
        ) from error


def write_model_version(connection: psycopg.Connection, version: StoredModelVersion) -> None:
    """Record a version once; the same again changes nothing.

    Raises InvalidInputError when the version is known with another file: versions never change.
    """
    name = f"{version.model} version {version.version}"
    with database_errors(f"store {name}"), connection.transaction():
        connection.execute(
            "INSERT INTO model_versions (model, version, sha256, data_card) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (version.model, version.version, version.sha256, Jsonb(dict(version.data_card))),
        )
        (stored,) = connection.execute(
            "SELECT sha256 FROM model_versions WHERE (model, version) = (%s, %s)", (version.model, version.version)
        ).fetchone()
        if stored != version.sha256:
            raise InvalidInputError(
                f"{name}: expected the file with sha256 {stored}, got {version.sha256}",
                hint="register the new file under a new version",
            )
        for tracks in version.training_tracks or training_tracks_of(version.data_card):
            connection.execute(
                "INSERT INTO training_tracks (model, version, camera_id, since, until, track_count) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (version.model, version.version, tracks.camera_id, tracks.since, tracks.until, tracks.track_count),
            )


def read_model_version(connection: psycopg.Connection, model: str, version: str) -> StoredModelVersion | None:
    """The version as recorded; None for an unknown one."""
    with database_errors(f"read {model} version {version}"), connection.transaction():
        row = connection.execute(
            "SELECT sha256, data_card FROM model_versions WHERE (model, version) = (%s, %s)", (model, version)
        ).fetchone()
        tracks = connection.execute(
            "SELECT camera_id, since, until, track_count FROM training_tracks WHERE (model, version) = (%s, %s) "
            "ORDER BY camera_id, since",
            (model, version),
        ).fetchall()
    if row is None:
        return None
    return StoredModelVersion(model, version, row[0], row[1], tuple(TrainingTracks(*each) for each in tracks))
