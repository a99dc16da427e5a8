"""A cheap look at a JPEG's structure: enough to reject what is cut off or is no JPEG, without decoding pixels."""

from __future__ import annotations

from typing import Literal

from pathcast.core.errors import InvalidInputError

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# SOF0-SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1, _EXIF = 0xE1, b"Exif\0\0"
_ORIENTATION, _SIDEWAYS = 0x0112, range(5, 9)
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the frame header of a JPEG (ITU-T T.81, B.1.1) that ends as one should.

    They are those of the upright image, as whatever decodes it gives it: where Exif says that it was taken with the
    camera on its side, the stored rows are its columns.

    Raises InvalidInputError where the start or end marker or the frame header is missing. Zero bytes
    behind the end marker are allowed, as some cameras pad.
    """
    if not data.startswith(_START_OF_IMAGE):
        raise InvalidInputError(f"JPEG: expected to start with ff d8, got {data[:4].hex(' ') or 'nothing'}")
    size = _frame_header(data)
    if not data.endswith(_END_OF_IMAGE) and not data.rstrip(b"\x00").endswith(_END_OF_IMAGE):
        raise InvalidInputError(f"JPEG: no end marker ff d9 in {len(data)} bytes, the image is cut off")
    return size


def _frame_header(data: bytes) -> tuple[int, int]:
    position, on_its_side = 2, False
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise InvalidInputError(f"JPEG: expected a marker at byte {position}, got {data[position]:#04x}")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in _START_OF_FRAME:
            if position + 9 > len(data):
                break
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            width = int.from_bytes(data[position + 7 : position + 9], "big")
            if not width or not height:
                raise InvalidInputError(f"JPEG: expected a positive size, got {width}x{height}")
            return (height, width) if on_its_side else (width, height)
        elif marker == _START_OF_SCAN:
            raise InvalidInputError("JPEG: image data before a frame header")
        else:
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            # XMP has the same marker.
            if marker == _APP1 and data.startswith(_EXIF, position + 4):
                on_its_side = _on_its_side(data[position + 4 : end])
            position = end
    raise InvalidInputError(f"JPEG: no frame header in {len(data)} bytes, the image is cut off")


def _on_its_side(segment: bytes) -> bool:
    """Whether an Exif segment (CIPA DC-008, 4.6) has the orientation of an image that lies on its side."""
    order: Literal["little", "big"]
    if segment.startswith(_EXIF + b"II"):
        order = "little"
    elif segment.startswith(_EXIF + b"MM"):
        order = "big"
    else:
        return False
    fields = segment[len(_EXIF) :]

    def number(position: int, size: int) -> int:
        return int.from_bytes(fields[position : position + size], order)

    first = number(4, 4) + 2
    entries = range(first, first + 12 * number(first - 2, 2), 12)
    return any(number(entry, 2) == _ORIENTATION and number(entry + 8, 2) in _SIDEWAYS for entry in entries)
