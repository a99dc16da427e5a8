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


def upsert_camera(
    connection: psycopg.Connection,
    camera_id: str,
    calibration: Mapping[str, Any] | None = None,
    classify: Mapping[str, str] | None = None,
) -> None:
    """Make a camera known; None keeps the calibration, or the classifiers, that it has.

    `calibration` is what `GroundPlane.as_mapping` gives; it is checked before it is stored.
    """
    check_camera_id(camera_id)
    if calibration is not None:
        ground_plane_from_mapping(calibration)
    with database_errors(f"store camera {camera_id}"):
        connection.execute(
            "INSERT INTO cameras (camera_id, calibration, classify) VALUES (%(id)s, %(calibration)s, "
            "coalesce(%(classify)s::jsonb, '{}')) ON CONFLICT (camera_id) DO UPDATE SET "
            "calibration = coalesce(excluded.calibration, cameras.calibration), "
            "classify = coalesce(%(classify)s::jsonb, cameras.classify), updated_at = now()",
            {
                "id": camera_id,
                "calibration": None if calibration is None else Jsonb(dict(calibration)),
                "classify": None if classify is None else Jsonb(dict(classify)),
            },
        )


def read_camera(connection: psycopg.Connection, camera_id: str) -> Camera | None:
    """The camera, with a ground plane where it is calibrated; None for an unknown one."""
    with database_errors(f"read camera {camera_id}"):
        row = connection.execute(
            "SELECT calibration, classify FROM cameras WHERE camera_id = %s", (camera_id,)
        ).fetchone()
    if row is None:
        return None
    plane = None if row[0] is None else ground_plane_from_mapping(row[0])
    return Camera(camera_id, plane, classify=row[1])


def read_camera_ids(connection: psycopg.Connection) -> list[str]:
    """All known cameras, in order."""
    with database_errors("read the cameras"):
        return [row[0] for row in connection.execute("SELECT camera_id FROM cameras ORDER BY camera_id")]
