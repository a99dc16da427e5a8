from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.errors import PathcastError
from pathcast.core.image_file import read_image, write_image
from tests.support.pictures import VAST_PNG


def test_pixels_are_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 3), (1, 2, 3), np.uint8))
    pixels = read_image(tmp_path / "a.png")
    assert pixels is not None
    assert pixels.tolist() == [[[3, 2, 1]] * 3] * 2


@pytest.mark.parametrize("content", [None, b"", b"no image", VAST_PNG], ids=["missing", "empty", "text", "vast"])
def test_what_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.png"
    if content is not None:
        file.write_bytes(content)
    assert read_image(file) is None


@pytest.mark.parametrize("name", ["ü.png", os.fsdecode(b"\xe4.png")], ids=["UTF-8", "Latin-1"])
def test_a_file_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(cv2.imencode(".png", np.zeros((2, 3, 3), np.uint8))[1].tobytes())
    pixels = read_image(tmp_path / name)
    assert pixels is not None
    assert pixels.shape == (2, 3, 3)


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png", "a" * 5000, "."])
def test_a_name_that_is_none_of_a_file_is_that_of_no_image(tmp_path: Path, name: str) -> None:
    assert read_image(tmp_path / name) is None


@pytest.mark.parametrize("name", ["new/ü.png", os.fsdecode(b"\xe4.png")], ids=["UTF-8", "Latin-1"])
def test_a_file_is_written_whatever_its_name(tmp_path: Path, name: str) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    write_image(tmp_path / name, pixels)
    written = read_image(tmp_path / name)
    assert written is not None
    assert (written == pixels).all()


@pytest.mark.parametrize(("name", "width"), [("a.pgm", 3), ("a.jpg", 65_600), ("a.none", 3), ("a", 3)])
def test_a_format_that_does_not_take_the_image_is_told(tmp_path: Path, name: str, width: int) -> None:
    with pytest.raises(PathcastError, match=rf"{name}: the image cannot be written: .* takes no {width} x 2 pixels"):
        write_image(tmp_path / name, np.zeros((2, width, 3), np.uint8))


def test_why_a_file_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathcastError, match=r"a\.png: the image cannot be written: (File exists|Not a directory)"):
        write_image(tmp_path / "file" / "a.png", np.zeros((2, 3, 3), np.uint8))
