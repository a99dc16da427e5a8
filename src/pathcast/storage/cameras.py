"""The cameras the platform knows, with their calibrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pathcast.core.camera import Camera
from pathcast.core.frame import check_camera_id
from pathcast.core.ground_plane import ground_plane_from_mapping
from pathcast.storage.connection import database_errors


def upsert_camera(connection: psycopg.Connection, camera_id: str, calibration: Mapping[str, Any] | None = None) -> None:
    """Make a camera known; None keeps the calibration it has.

    `calibration` is what `GroundPlane.as_mapping` gives; it is checked before it is stored.
    """
    check_camera_id(camera_id)
    if calibration is not None:
        ground_plane_from_mapping(calibration)
    with database_errors(f"store camera {camera_id}"):
        connection.execute(
            "INSERT INTO cameras (camera_id, calibration) VALUES (%s, %s) ON CONFLICT (camera_id) DO UPDATE SET "
            "calibration = coalesce(excluded.calibration, cameras.calibration), updated_at = now()",
            (camera_id, None if calibration is None else Jsonb(dict(calibration))),
        )


def read_camera(connection: psycopg.Connection, camera_id: str) -> Camera | None:
    """The camera, with a ground plane where it is calibrated; None for an unknown one."""
    with database_errors(f"read camera {camera_id}"):
        row = connection.execute("SELECT calibration FROM cameras WHERE camera_id = %s", (camera_id,)).fetchone()
    if row is None:
        return None
    return Camera(camera_id, None if row[0] is None else ground_plane_from_mapping(row[0]))


def read_camera_ids(connection: psycopg.Connection) -> list[str]:
    """All known cameras, in order."""
    with database_errors("read the cameras"):
        return [row[0] for row in connection.execute("SELECT camera_id FROM cameras ORDER BY camera_id")]
