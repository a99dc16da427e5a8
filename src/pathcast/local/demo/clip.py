"""Where the demo's video comes from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pathcast.core.errors import InvalidInputError, PathcastError

CLIP_NAME = "vtest.avi"
CLIP_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
CLIP_ADDRESS = "https://raw.githubusercontent.com/opencv/opencv/4.x/samples/data/vtest.avi"
DEBIAN_PACKAGE = "opencv-doc"
_DEBIAN_PATH = Path("usr/share/doc/opencv-doc/examples/data") / CLIP_NAME
_DOWNLOAD_TIMEOUT_S = 120


def find_clip(video: Path | None, data_dir: Path, cache_dir: Path, say: Callable[[str], None]) -> Path:
    """The clip to stream: `video`, else the data folder's, else Debian's, else the public file.

    What is fetched lands in `cache_dir` and is checked against its SHA-256; `say` announces every
    download before it starts. Raises PathcastError when nothing is at hand.
    """
    if video is not None:
        if not video.is_file():
            raise InvalidInputError(f"video {video}: no such file", hint="give a path that exists to --video")
        return video
    cached = cache_dir / CLIP_NAME
    for path in (data_dir / "pets09_s2l1" / CLIP_NAME, cached, Path("/") / _DEBIAN_PATH):
        if path.is_file() and _sha256(path) == CLIP_SHA256:
            return path
    cache_dir.mkdir(parents=True, exist_ok=True)
    reasons = []
    for source, fetch in (
        (f"Debian's package {DEBIAN_PACKAGE} (96 MB, unpacked without root)", _from_debian),
        (f"{CLIP_ADDRESS} (8 MB)", _from_address),
    ):
        say(f"fetching the demo clip from {source}")
        try:
            fetch(cached)
        except (OSError, subprocess.SubprocessError, urllib.error.URLError) as error:
            reasons.append(f"{source}: {error}")
            continue
        if _sha256(cached) == CLIP_SHA256:
            return cached
        cached.unlink()
        reasons.append(f"{source}: the checksum is wrong")
    raise PathcastError(
        "no demo clip: " + "; ".join(reasons),
        hint="run `pathcast demo --video FILE` with a video of your own, or set PATHCAST_DATA",
    )


def data_dir() -> Path:
    """The folder of real data: `PATHCAST_DATA`, else `../shared/data`."""
    return Path(os.environ.get("PATHCAST_DATA", "../shared/data"))


def _from_debian(target: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise OSError("this is not a Debian system")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        subprocess.run(
            ["apt-get", "download", "--quiet", DEBIAN_PACKAGE],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True, capture_output=True)
        shutil.move(Path(folder) / _DEBIAN_PATH, target)


def _from_address(target: Path) -> None:
    partial = target.with_suffix(".partial")
    with urllib.request.urlopen(CLIP_ADDRESS, timeout=_DOWNLOAD_TIMEOUT_S) as answer, partial.open("wb") as file:  # noqa: S310 - a constant https address
        shutil.copyfileobj(answer, file)
    partial.rename(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
