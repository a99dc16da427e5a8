"""A cheap look at a JPEG's structure: enough to reject what is cut off or is no JPEG, without decoding pixels."""

from __future__ import annotations

from pathcast.core.errors import InvalidInputError

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# SOF0-SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the frame header of a JPEG (ITU-T T.81, B.1.1) that ends as one should.

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
    position = 2
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
            return width, height
        elif marker == _START_OF_SCAN:
            raise InvalidInputError("JPEG: image data before a frame header")
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise InvalidInputError(f"JPEG: no frame header in {len(data)} bytes, the image is cut off")
