"""`pathcast stream` from the command line, with a described camera."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.core.ground_plane import HomographyPlane
from pathcast.local.platform import Platform
from pathcast.storage.cameras import read_camera
from pathcast.storage.connection import connect

pytestmark = pytest.mark.integration

CAMERA = """
camera_id = "{camera_id}"
frames_per_second = 5.0

[calibration]
kind = "homography"
image_to_ground = [[0.1, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 1.0]]
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.jpg"), np.full((48, 64, 3), 40 * number, np.uint8))
    return folder


def test_a_described_camera_is_known_and_its_rate_is_used(platform: Platform, images: Path, tmp_path: Path):
    camera_file, figures = tmp_path / "camera.toml", tmp_path / "stream.json"
    camera_file.write_text(CAMERA.format(camera_id="described"))
    arguments = ["stream", str(images), "--camera", "described", "--camera-file", str(camera_file), "--pace", "fast"]
    result = CliRunner().invoke(app, [*arguments, "--state-dir", str(platform.state_dir), "--json", str(figures)])
    assert result.exit_code == 0, result.output
    (sent,) = json.loads(figures.read_text())["cameras"]
    assert (sent["camera_id"], sent["frames_sent"]) == ("described", 4)
    with connect(platform.settings().database_url, application_name="test") as connection:
        camera = read_camera(connection, "described")
    assert camera is not None
    assert isinstance(camera.ground_plane, HomographyPlane)
    assert camera.ground_plane.to_ground([[10, 20]]).tolist() == [[1.0, 2.0]]


def test_cameras_are_known_before_their_frames(platform: Platform, tmp_path: Path):
    files = [tmp_path / "one.toml", tmp_path / "two.toml"]
    files[0].write_text(CAMERA.format(camera_id="one"))
    files[1].write_text('camera_id = "two"\n[classify]\n"*" = "kinds"\n')
    arguments = ["camera", *map(str, files), "--state-dir", str(platform.state_dir)]
    for _ in range(2):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines() == [
            "one: positions in m",
            "two: positions in frame_heights, asks kinds",
        ]
        assert "kinds: not served by Triton" in " ".join(result.stderr.split())
    with connect(platform.settings().database_url, application_name="test") as connection:
        one, two = (read_camera(connection, name) for name in ("one", "two"))
    assert one is not None
    assert two is not None
    assert one.units == "m"
    assert two.classify == {"*": "kinds"}
    for table, expected, asks in (("", {"*": "kinds"}, ", asks kinds"), ("[classify]\n", {}, "")):
        files[1].write_text(f'camera_id = "two"\n{table}')
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, bool(result.stderr)) == (0, bool(expected))
        assert result.stdout.splitlines()[1] == f"two: positions in frame_heights{asks}"
        with connect(platform.settings().database_url, application_name="test") as connection:
            two = read_camera(connection, "two")
        assert two is not None
        assert two.classify == expected
    files[1].write_text('camera_id = "two"\n[classify]\n"lorry" = "signs"\n')
    with pytest.raises(InvalidInputError, match="lorry"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_file_of_another_camera_is_wrong_usage(platform: Platform, images: Path, tmp_path: Path):
    camera_file = tmp_path / "camera.toml"
    camera_file.write_text(CAMERA.format(camera_id="other"))
    arguments = ["stream", str(images), "--camera", "mine", "--fps", "5", "--camera-file", str(camera_file)]
    result = CliRunner().invoke(app, [*arguments, "--state-dir", str(platform.state_dir)])
    assert result.exit_code == 2
    assert "other" in result.output
