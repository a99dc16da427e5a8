"""What the platform knows of one camera."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.frame import check_camera_id
from pathcast.core.ground_plane import GroundPlane, ground_plane_from_mapping
from pathcast.core.trajectory import FRAME_HEIGHTS, METRES

_HINT = 'a camera file is TOML: camera_id = "gate-1" and, where known, the tables [calibration] and [classify]'


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera and, where it is calibrated, its view of the ground.

    `classify`: a class of the detector → the model that says of what kind its detections are (see
    `pathcast.serving.detection_classifier`); empty: none is asked, None: not said.
    """

    camera_id: str
    ground_plane: GroundPlane | None = None
    frames_per_second: float | None = None
    classify: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_camera_id(self.camera_id)
        if self.frames_per_second is not None and not self.frames_per_second > 0:
            raise InvalidInputError(
                f"camera {self.camera_id}: frames_per_second must be positive, got {self.frames_per_second}"
            )
        asked = dict(self.classify or {})
        if not all(isinstance(text, str) and text for pair in asked.items() for text in pair):
            raise InvalidInputError(
                f"camera {self.camera_id}: classify: expected a class and a model each, got {asked}"
            )

    @property
    def units(self) -> str:
        """The unit of `positions`: metres with a calibration, else frame heights."""
        return FRAME_HEIGHTS if self.ground_plane is None else METRES

    def positions(self, xyxy: npt.ArrayLike, frame_height: int) -> Float64Array:
        """Where boxes touch the ground: (n, 4) pixel boxes to (n, 2) positions in `units`.

        The foot point is the middle of a box's lower edge. Without a calibration it is divided by the
        frame's height, so that the numbers do not depend on the resolution.
        """
        boxes = np.asarray(xyxy, dtype=np.float64).reshape(-1, 4)
        feet = np.empty((len(boxes), 2))
        feet[:, 0], feet[:, 1] = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]
        return feet / frame_height if self.ground_plane is None else self.ground_plane.to_ground(feet)

    def pixels(self, positions: npt.ArrayLike, frame_height: int) -> Float64Array:
        """(n, 2) positions in `units` to (n, 2) pixels; the inverse of `positions`."""
        points = np.asarray(positions, dtype=np.float64).reshape(-1, 2)
        return points * frame_height if self.ground_plane is None else self.ground_plane.to_image(points)

    def as_mapping(self) -> dict[str, Any]:
        """Plain values, as a camera file has them; `camera_from_mapping` reads them back."""
        fields: dict[str, Any] = {"camera_id": self.camera_id}
        if self.frames_per_second is not None:
            fields["frames_per_second"] = self.frames_per_second
        if self.ground_plane is not None:
            fields["calibration"] = self.ground_plane.as_mapping()
        if self.classify is not None:
            fields["classify"] = dict(self.classify)
        return fields


def read_camera_file(path: Path) -> Camera:
    """Read a camera from TOML: `camera_id`, and what else `Camera` has: `[calibration]`, `[classify]` are tables.

    The first is what `ground_plane_from_mapping` takes. Raises InvalidInputError that names the file.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInputError(f"camera file {path}: {error}", hint=_HINT) from error
    try:
        return camera_from_mapping(fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"camera file {path}: {error.message}", hint=error.hint or _HINT) from error


def camera_from_mapping(fields: Mapping[str, Any]) -> Camera:
    """The inverse of `Camera.as_mapping`. Raises InvalidInputError that names the field at fault."""
    unknown = fields.keys() - {"camera_id", "frames_per_second", "calibration", "classify"}
    if unknown or "camera_id" not in fields:
        raise InvalidInputError(
            f"camera: expected camera_id, and perhaps frames_per_second, calibration and classify, got {sorted(fields)}"
        )
    calibration = fields.get("calibration")
    try:
        return Camera(
            camera_id=fields["camera_id"],
            ground_plane=None if calibration is None else ground_plane_from_mapping(calibration),
            frames_per_second=fields.get("frames_per_second"),
            classify=None if "classify" not in fields else dict(fields["classify"]),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"camera: {error}") from error
