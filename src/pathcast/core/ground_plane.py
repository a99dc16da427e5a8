"""From pixels to metres on the ground, and back.

Two calibrations: a homography (from four or more point pairs) and Tsai's camera model (R. Y. Tsai, "A
Versatile Camera Calibration Technique", IEEE J. Robotics and Automation, 1987) cut with the ground plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, frozen_array, require_finite
from pathcast.core.errors import InvalidInputError

MILLIMETRES_PER_METRE = 1_000.0
_SINGULAR = 1e12
"""From this condition number on a matrix cannot be inverted: little more than rounding would be left."""


class GroundPlane(Protocol):
    """A camera's view of the ground plane z = 0."""

    def to_ground(self, points_px: npt.ArrayLike) -> Float64Array:
        """(n, 2) pixels to (n, 2) metres on the ground; not finite for points on the horizon."""
        ...

    def to_image(self, points_m: npt.ArrayLike) -> Float64Array:
        """(n, 2) metres on the ground to (n, 2) pixels."""
        ...

    def as_mapping(self) -> dict[str, Any]:
        """Plain numbers and lists that `ground_plane_from_mapping` reads back."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HomographyPlane:
    """A plane seen without lens distortion. `image_to_ground` (3, 3) maps homogeneous pixels to metres.

    >>> plane = HomographyPlane([[0.1, 0, 0], [0, 0.1, 0], [0, 0, 1]])
    >>> plane.to_ground([[50, 20]]).tolist()
    [[5.0, 2.0]]
    """

    image_to_ground: Float64Array

    def __init__(self, image_to_ground: npt.ArrayLike) -> None:
        matrix = frozen_array("image_to_ground", image_to_ground, np.float64, (3, 3))
        require_finite("image_to_ground", matrix)
        if abs(np.linalg.det(matrix)) < 1e-15:
            raise InvalidInputError("image_to_ground: the homography cannot be inverted")
        object.__setattr__(self, "image_to_ground", matrix)

    @classmethod
    def from_point_pairs(cls, points_px: npt.ArrayLike, points_m: npt.ArrayLike) -> HomographyPlane:
        """Least-squares fit to at least four pairs, no three on a line (direct linear transform)."""
        pixels = frozen_array("points_px", points_px, np.float64, (None, 2))
        metres = frozen_array("points_m", points_m, np.float64, (len(pixels), 2))
        if len(pixels) < 4:
            raise InvalidInputError(f"point pairs: expected at least 4, got {len(pixels)}")
        rows = []
        for (x, y), (u, v) in zip(pixels, metres, strict=True):
            rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
            rows.append([0, 0, 0, x, y, 1, -v * x, -v * y, -v])
        # The full left side grows with the square of the pairs; four of them need the full right side.
        _, singular, right = np.linalg.svd(np.asarray(rows), full_matrices=len(pixels) == 4)
        if singular[7] < 1e-9 * singular[0]:
            raise InvalidInputError("point pairs: three or more of them lie on one line")
        return cls(right[-1].reshape(3, 3) / right[-1, -1])

    def to_ground(self, points_px: npt.ArrayLike) -> Float64Array:
        return _project(self.image_to_ground, np.asarray(points_px, dtype=np.float64))

    def to_image(self, points_m: npt.ArrayLike) -> Float64Array:
        return _project(_inverse(self.image_to_ground), np.asarray(points_m, dtype=np.float64))

    def as_mapping(self) -> dict[str, Any]:
        return {"kind": "homography", "image_to_ground": self.image_to_ground.tolist()}


@dataclass(frozen=True, slots=True)
class TsaiPlane:
    """Tsai's model with one radial distortion term, world unit millimetres, ground plane z = 0.

    `focal_mm`, `kappa1` (1/mm²), principal point `cx`, `cy` (px), `sx` horizontal scale, sensor element
    sizes `dpx`, `dpy` (mm/px), rotation angles `rx`, `ry`, `rz` (rad), translation `tx`, `ty`, `tz` (mm).
    """

    focal_mm: float
    kappa1: float
    cx: float
    cy: float
    sx: float
    dpx: float
    dpy: float
    rx: float
    ry: float
    rz: float
    tx: float
    ty: float
    tz: float

    def __post_init__(self) -> None:
        require_finite("Tsai parameters", np.asarray([list(asdict(self).values())], dtype=np.float64))
        if min(self.focal_mm, self.sx, self.dpx, self.dpy) <= 0:
            raise InvalidInputError("Tsai parameters: focal_mm, sx, dpx and dpy must be positive")
        if not np.linalg.cond(self._ground_to_ideal()) < _SINGULAR:
            raise InvalidInputError("Tsai parameters: the camera stands in the ground plane, which it sees as a line")

    def to_ground(self, points_px: npt.ArrayLike) -> Float64Array:
        pixels = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
        sensor = (pixels - (self.cx, self.cy)) * (self.dpx / self.sx, self.dpy)
        ideal = sensor * (1.0 + self.kappa1 * (sensor**2).sum(axis=1, keepdims=True))
        return _project(_inverse(self._ground_to_ideal()), ideal) / MILLIMETRES_PER_METRE

    def to_image(self, points_m: npt.ArrayLike) -> Float64Array:
        metres = np.asarray(points_m, dtype=np.float64).reshape(-1, 2)
        ideal = _project(self._ground_to_ideal(), metres * MILLIMETRES_PER_METRE)
        distorted = ideal.copy()
        for _ in range(20):  # fixed point of d·(1 + κ|d|²) = ideal; converges well below a hundredth of a pixel
            distorted = ideal / (1.0 + self.kappa1 * (distorted**2).sum(axis=1, keepdims=True))
        return distorted / (self.dpx / self.sx, self.dpy) + (self.cx, self.cy)

    def as_mapping(self) -> dict[str, Any]:
        return {"kind": "tsai", **asdict(self)}

    def _ground_to_ideal(self) -> Float64Array:
        """(3, 3): ground millimetres to undistorted sensor millimetres, both homogeneous."""
        (sin_x, cos_x), (sin_y, cos_y), (sin_z, cos_z) = ((np.sin(a), np.cos(a)) for a in (self.rx, self.ry, self.rz))
        about_x = np.asarray([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
        about_y = np.asarray([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
        about_z = np.asarray([[cos_z, -sin_z, 0], [sin_z, cos_z, 0], [0, 0, 1]])
        rotation = about_z @ about_y @ about_x
        extrinsic = np.column_stack([rotation[:, 0], rotation[:, 1], (self.tx, self.ty, self.tz)])
        return np.asarray(np.diag([self.focal_mm, self.focal_mm, 1.0]) @ extrinsic, dtype=np.float64)


def ground_plane_from_mapping(values: Mapping[str, Any]) -> GroundPlane:
    """Build a ground plane from `{kind = "homography" | "tsai" | "point_pairs", …}`.

    Raises InvalidInputError that names the field at fault.
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    try:
        if kind == "homography":
            return HomographyPlane(fields["image_to_ground"])
        if kind == "point_pairs":
            return HomographyPlane.from_point_pairs(fields["points_px"], fields["points_m"])
        if kind == "tsai":
            return TsaiPlane(**{name: float(value) for name, value in fields.items()})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"calibration of kind {kind!r}: {error}") from error
    raise InvalidInputError(f"calibration kind: expected 'homography', 'point_pairs' or 'tsai', got {kind!r}")


def _inverse(matrix: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _project(matrix: Float64Array, points: Float64Array) -> Float64Array:
    points = points.reshape(-1, 2)
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        projected: Float64Array = homogeneous[:, :2] / homogeneous[:, 2:]
    return projected
