from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.jpeg import jpeg_size


def encoded(width: int, height: int, *flags: int) -> bytes:
    image = np.random.default_rng(7).integers(0, 255, (height, width, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", image, list(flags))[1])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 9), (768, 576)])
def test_size_of_real_images(width: int, height: int) -> None:
    assert jpeg_size(encoded(width, height)) == (width, height)


@pytest.mark.parametrize(
    "flags", [(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)]
)
def test_size_of_other_kinds_of_jpeg(flags: tuple[int, ...]) -> None:
    assert jpeg_size(encoded(40, 30, *flags)) == (40, 30)


def test_padding_behind_the_end_is_allowed() -> None:
    assert jpeg_size(encoded(8, 8) + bytes(5)) == (8, 8)


def turned(jpeg: bytes, order: str, orientation: int) -> bytes:
    """The JPEG with an Exif segment that says how the camera was held, as TIFF fields of that byte order."""
    tiff = struct.pack(f"{order}HIHHHIHHHHIHHI", 42, 8, 2, 0x0100, 3, 1, 99, 0, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + (b"II" if order == "<" else b"MM") + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_the_size_is_that_of_the_upright_image(order: str, orientation: int) -> None:
    jpeg = turned(encoded(40, 30), order, orientation)
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB).shape[:2]
    assert jpeg_size(jpeg) == (width, height) == ((30, 40) if orientation in (5, 6, 7, 8) else (40, 30))


@pytest.mark.parametrize("exif_first", [True, False])
def test_another_segment_of_the_same_marker_is_not_exif(exif_first: bool) -> None:
    text = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    xmp = b"\xff\xe1" + struct.pack(">H", len(text) + 2) + text
    plain = encoded(40, 30)
    with_xmp = plain[:2] + xmp + plain[2:]
    jpeg = turned(with_xmp, "<", 6)
    if not exif_first:
        exif = jpeg[2 : len(jpeg) - len(with_xmp) + 2]
        jpeg = plain[:2] + xmp + exif + plain[2:]
    height, width = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB).shape[:2]
    assert jpeg_size(jpeg) == (width, height) == (30, 40)


def test_a_damaged_exif_segment_says_nothing() -> None:
    whole = turned(encoded(40, 30), "<", 6)
    for damaged in (whole.replace(b"II", b"XX", 1), whole.replace(struct.pack("<I", 8), struct.pack("<I", 10**9), 1)):
        assert jpeg_size(damaged) == (40, 30)


def test_every_truncation_is_rejected() -> None:
    whole = encoded(24, 16)
    for length in range(len(whole)):
        with pytest.raises(InvalidInputError, match="JPEG"):
            jpeg_size(whole[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "got nothing"),
        (b"\x89PNG\r\n", "got 89 50 4e 47"),
        (b"\xff\xd8\xff\xda\x00\x02" + bytes(40) + b"\xff\xd9", "before a frame header"),
        (b"\xff\xd8\x00\x00\x00\x00\xff\xd9", "expected a marker at byte 2"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x10\x01\xff\xd9", "got 16x0"),
    ],
)
def test_not_a_jpeg(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        jpeg_size(data)
