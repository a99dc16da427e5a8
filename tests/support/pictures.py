"""Pictures on disk, alone or as a MOT sequence, for tests that read labelled sets."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np

_HEADER = b"IHDR" + (1 << 16).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
VAST_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\r" + _HEADER + zlib.crc32(_HEADER).to_bytes(4, "big") + b"\0\0\0\0IDAT" + bytes(40)
"""The header, which is a right one, claims 2^32 pixels."""


def noise(path: Path, seed: int) -> None:
    """Write a picture of 64 x 48 random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def mot_folder(folder: Path, pictures: int = 6) -> Path:
    """Write a sequence of 6 frames with one person, ignored in the second; the first `pictures` lie there as files."""
    (folder / "gt").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=gate\nframeRate=2\nseqLength=6\nimWidth=64\nimHeight=48\nimDir=img1\nimExt=.jpg\n"
    )
    rows = [f"{n},7,10,10,10,20,{int(n != 2)},-1,-1,-1" for n in range(1, 7)]
    (folder / "gt" / "gt.txt").write_text("\n".join(rows))
    for number in range(1, pictures + 1):
        noise(folder / "img1" / f"{number:06d}.jpg", number)
    return folder


def video(path: Path, grey: int) -> None:
    """Write a video of 6 frames of one grey."""
    path.parent.mkdir(parents=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(6):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
