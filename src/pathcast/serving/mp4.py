"""H.264 videos, by the ffmpeg binary that the package imageio-ffmpeg carries."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

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
        self._encoder: _Encoder | None = None

    def write(self, image: UInt8Array) -> None:
        """Add a frame. Raises PathcastError where the encoder has failed."""
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            padded = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
            image, height, width = padded.astype(np.uint8, copy=False), height + height % 2, width + width % 2
        if self._encoder is None:
            self._encoder = _Encoder(self._path, width, height, self._frames_per_second)
        # A third of RGB's bytes through the pipe is saved, and the conversion is quicker here than in ffmpeg.
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        try:
            self._encoder.write(planes.data)
        except PathcastError:
            self._encoder = None
            raise

    def close(self) -> None:
        """Finish the file; without a frame there is none. Raises PathcastError where the encoder has failed."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.finish()

    def abandon(self) -> None:
        """End the encoder of a file that will not be whole; nothing happens once it is closed."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


class _Encoder:
    """An ffmpeg that takes planes (h · 3 / 2, w), I420, and what it complains about."""

    def __init__(self, path: Path, width: int, height: int, frames_per_second: float) -> None:
        self._path = path
        planes = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(frames_per_second)]
        command = [*_ffmpeg(), *planes, "-i", "-", "-an", "-c:v", "libx264", *_QUALITY, str(path.absolute())]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # a pipe that nobody reads could fill up
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            process_group=0,  # Ctrl-C is for who writes the frames, which then ends this in order
        )
        self._entrance = cast("IO[bytes]", self._process.stdin)

    def write(self, planes: memoryview) -> None:
        try:
            self._entrance.write(planes)
        except BrokenPipeError:
            self.finish()
            raise PathcastError(f"video {self._path}: the encoder ended early") from None

    def finish(self) -> None:
        """Wait for the file; PathcastError where it is not whole."""
        with suppress(BrokenPipeError):
            self._entrance.close()
        failed = self._process.wait()
        with self._complaints as complaints:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
        if failed:
            raise PathcastError(f"video {self._path}: the encoder failed: {said or f'exit status {failed}'}")

    def kill(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._entrance.close()
        self._process.wait()
        self._complaints.close()


def join_videos(parts: Sequence[Path], target: Path) -> None:
    """Write one video of `parts`, which Mp4Writer made of frames of one size, without encoding them again."""
    target = target.absolute()
    listing = target.with_suffix(".parts")
    listing.write_text("".join(f"file '{_quoted(part.resolve())}'\n" for part in parts), encoding="utf-8")
    command = [*_ffmpeg(), "-f", "concat", "-safe", "0"]
    command += ["-i", str(listing), "-c", "copy", "-fflags", "+bitexact", "-movflags", "+faststart", str(target)]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    listing.unlink()
    # Of a part that is gone or torn ffmpeg complains, and joins the others.
    if done.returncode or done.stderr:
        raise PathcastError(f"video {target}: joining {len(parts)} parts failed: {done.stderr.strip()}")


def _ffmpeg() -> list[str]:
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]


def _quoted(path: Path) -> str:
    """A path inside single quotes, as ffmpeg's list of files has it."""
    return str(path).replace("'", "'\\''")
