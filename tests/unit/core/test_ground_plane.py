"""Pixels to metres and back, held against published ground truth where it is at hand."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.camera import Camera, camera_from_mapping, read_camera_file
from pathcast.core.errors import InvalidInputError
from pathcast.core.ground_plane import HomographyPlane, TsaiPlane, ground_plane_from_mapping

PLAZA = TsaiPlane(
    focal_mm=5.5549183034,
    kappa1=5.1113043639e-3,
    cx=324.22149053,
    cy=282.56650051,
    sx=1.0937855397,
    dpx=5.1273271277e-3,
    dpy=4.65e-3,
    rx=2.0405458695,
    ry=-0.89337703748,
    rz=-0.43056124791,
    tx=828.73214225,
    ty=-3175.4796051,
    tz=35469.298547,
)
SLANTED = HomographyPlane([[0.02, 0.001, -3.0], [0.0, -0.05, 20.0], [0.0, 0.002, 1.0]])


@pytest.mark.parametrize("plane", [PLAZA, SLANTED], ids=["tsai", "homography"])
@given(x=st.floats(50, 700), y=st.floats(150, 570))
def test_ground_and_image_are_inverse(plane, x, y):
    assert plane.to_image(plane.to_ground([[x, y]])) == pytest.approx(np.asarray([[x, y]]), abs=1e-6)


@pytest.mark.parametrize("plane", [PLAZA, SLANTED], ids=["tsai", "homography"])
def test_mapping_round_trip(plane):
    again = ground_plane_from_mapping(plane.as_mapping())
    points = [[100.0, 300.0], [640.0, 480.0]]
    np.testing.assert_array_equal(again.to_ground(points), plane.to_ground(points))


def test_tsai_matches_the_world_coordinates_of_the_ground_truth():
    # Boxes of the first frame's pedestrians and their annotated world position, 15 cm apart at most.
    feet = [[499 + 31.03 / 2, 158 + 75.17], [258 + 32.913 / 2, 219 + 88.702], [633 + 42.338 / 2, 242 + 81.074]]
    world = [[-4.1554, -7.3591], [-11.306, -5.5995], [-9.0323, -12.587]]
    assert np.abs(PLAZA.to_ground(feet) - world).max() < 0.15


def test_many_point_pairs_take_little_memory():
    pixels = np.random.default_rng(0).uniform(0, 700, (3_000, 2))
    tracemalloc.start()
    fitted = HomographyPlane.from_point_pairs(pixels, SLANTED.to_ground(pixels))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6
    np.testing.assert_allclose(fitted.to_ground(pixels), SLANTED.to_ground(pixels), rtol=1e-6)


def test_point_pairs_recover_the_homography():
    pixels = np.asarray([[0, 0], [700, 10], [650, 500], [20, 560], [300, 200]], dtype=float)
    fitted = HomographyPlane.from_point_pairs(pixels, SLANTED.to_ground(pixels))
    np.testing.assert_allclose(fitted.to_ground([[400, 400]]), SLANTED.to_ground([[400, 400]]), atol=1e-9)


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        ({}, "calibration kind"),
        ({"kind": "fisheye"}, "fisheye"),
        ({"kind": "homography", "image_to_ground": [[1, 0], [0, 1]]}, r"expected shape \(3, 3\)"),
        ({"kind": "homography", "image_to_ground": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, "cannot be inverted"),
        ({"kind": "tsai", "focal_mm": 1.0}, "missing"),
        ({"kind": "tsai", **{**PLAZA.as_mapping(), "kind": "tsai", "focal_mm": -1.0}}, "must be positive"),
        ({**PLAZA.as_mapping(), "tx": 0.0, "ty": 0.0, "tz": 0.0}, "in the ground plane"),
        ({**PLAZA.as_mapping(), "tx": 10**400}, "too large"),
        ({"kind": "point_pairs", "points_px": [[0, 0]] * 3, "points_m": [[0, 0]] * 3}, "at least 4"),
        (
            {"kind": "point_pairs", "points_px": [[i, i] for i in range(5)], "points_m": [[i, 1] for i in range(5)]},
            "line",
        ),
    ],
)
def test_bad_calibrations_are_named(mapping, complaint):
    with pytest.raises(InvalidInputError, match=complaint):
        ground_plane_from_mapping(mapping)


def test_camera_positions_without_calibration_are_frame_heights():
    camera = Camera("gate")
    assert camera.units == "frame_heights"
    positions = camera.positions([[10, 0, 30, 50]], frame_height=100)
    assert positions.tolist() == [[0.2, 0.5]]
    assert camera.pixels(positions, frame_height=100).tolist() == [[20.0, 50.0]]
    assert camera.positions(np.empty((0, 4)), 100).shape == (0, 2)


@pytest.mark.parametrize("camera", [Camera("gate"), Camera("gate", PLAZA, 7.0), Camera("gate", None, 29.97)])
def test_cameras_survive_as_mappings(camera):
    assert camera_from_mapping(camera.as_mapping()) == camera


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("camera_id = 3", "camera file"),
        ("frames_per_second = 7", "expected camera_id"),
        ('camera_id = "a"\nframes_per_second = -1', "must be positive"),
        ('camera_id = "UPPER"', "camera id"),
        ("[[", "camera file"),
    ],
)
def test_bad_camera_files_are_named(tmp_path, text, complaint):
    path = tmp_path / "camera.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=complaint):
        read_camera_file(path)
