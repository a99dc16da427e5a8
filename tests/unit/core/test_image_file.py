from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core.image_file import read_image

# A header that claims 2^40 pixels.
VAST = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1 << 20).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0" + bytes(40)


def test_pixels_are_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 3), (1, 2, 3), np.uint8))
    pixels = read_image(tmp_path / "a.png")
    assert pixels is not None
    assert pixels.tolist() == [[[3, 2, 1]] * 3] * 2


@pytest.mark.parametrize("content", [None, b"", b"no image", VAST], ids=["missing", "empty", "text", "vast"])
def test_what_cannot_be_read_is_none(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "a.png"
    if content is not None:
        file.write_bytes(content)
    assert read_image(file) is None
