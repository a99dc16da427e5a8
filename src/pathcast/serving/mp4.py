"""H.264 videos, by the ffmpeg binary that the package imageio-ffmpeg carries."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import imageio_ffmpeg
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import PathcastError

# The quickest to encode; the same frames give the same bytes, which a changing number of threads would not.
_QUALITY = ["-preset", "ultrafast", "-crf", "28", "-threads", "2", "-fflags", "+bitexact", "-flags:v", "+bitexact"]


class Mp4Writer:
    """Writes RGB frames (h, w, 3) of one size to `path`; the file is whole once the writer is closed.

    H.264 wants even sizes: an odd frame gains a line that repeats its last.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path = path
        self._frames_per_second = frames_per_second
        self._encoder: Generator[None, Any, None] | None = None

    def write(self, image: UInt8Array) -> None:
        """Add a frame. Raises PathcastError where the encoder has failed."""
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            image, height, width = padded.astype(np.uint8, copy=False), height + height % 2, width + width % 2
        if self._encoder is None:
            self._encoder = self._start(width, height)
        # A third of RGB's bytes through the pipe is saved, and the conversion is quicker here than in ffmpeg.
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        try:
            self._encoder.send(planes)
        except OSError as error:
            raise PathcastError(f"video {self._path}: the encoder failed: {error}") from error

    def close(self) -> None:
        """Finish the file; without a frame there is none."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, width: int, height: int) -> Generator[None, Any, None]:
        encoder: Generator[None, Any, None] = imageio_ffmpeg.write_frames(
            str(self._path),
            (width, height),
            pix_fmt_in="yuv420p",
            fps=self._frames_per_second,
            codec="libx264",
            quality=None,
            macro_block_size=2,
            output_params=_QUALITY,
            ffmpeg_log_level="error",
        )
        encoder.send(None)
        return encoder


def join_videos(parts: Sequence[Path], target: Path) -> None:
    """Write one video of `parts`, which Mp4Writer made of frames of one size, without encoding them again."""
    listing = target.with_suffix(".parts")
    listing.write_text("".join(f"file '{_quoted(part.resolve())}'\n" for part in parts), encoding="utf-8")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "concat", "-safe", "0"]
    command += ["-i", str(listing), "-c", "copy", "-fflags", "+bitexact", "-movflags", "+faststart", str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    listing.unlink()
    if done.returncode:
        raise PathcastError(f"video {target}: joining {len(parts)} parts failed: {done.stderr.strip()}")


def _quoted(path: Path) -> str:
    """A path inside single quotes, as ffmpeg's list of files has it."""
    return str(path).replace("'", "'\\''")
