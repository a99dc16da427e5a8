"""Videos of the object store into results in the object store: what each step of `batch_inference` does."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from minio import Minio

from pathcast.core.camera import Camera
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.file_lock import file_lock
from pathcast.core.settings import PlatformSettings
from pathcast.core.video import VIDEO_SUFFIXES
from pathcast.serving.batch import s3
from pathcast.serving.batch.run import BatchSettings, run_batch, run_identity
from pathcast.serving.batch.segments import REPORT_FILE, RESULT_FILES, read_report
from pathcast.serving.batch.videos import camera_name, left_out, open_video
from pathcast.serving.remote_models import served_models
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store
from pathcast.tracking.settings import TrackerSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


def find_videos(settings: PlatformSettings, sources: Sequence[str]) -> list[str]:
    """Addresses of the videos at or directly below each source; a folder of images is one video.

    Other files that lie there are logged.
    Raises InvalidInputError where two would be written to the same place, and what `s3.fetch` raises.
    """
    client = object_store(settings)
    found: list[str] = []
    for source in sources:
        bucket, names = s3.listed(client, source)
        videos = [name for name in names if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
        found += [f"{s3.SCHEME}{bucket}/{name}" for name in videos] or [source.rstrip("/")]
        if others := left_out(s3.names_below(client, source)):
            _log.warning("%s: files left out: %s", source, ", ".join(others))
    places = [_place(address) for address in found]
    twice = sorted({place for place in places if places.count(place) > 1})
    if twice:
        raise InvalidInputError(
            f"videos: {', '.join(twice)} would be written twice", hint="rename them, or run them apart"
        )
    return found


def analyse_video(
    settings: PlatformSettings,
    address: str,
    output: str,
    *,
    detector: str = "detector",
    fps: float | None = None,
    annotate: bool = True,
) -> dict[str, Any]:
    """Detect, track and forecast with the served models; tables, video and report go to `output`/NAME in the store.

    Returns the report, with `video` and `stored_at`. What is there already of the very same run is not made again,
    results of another are replaced: of another model, say, after a promotion. A run that was cut short goes on from
    the workspace. Raises PathcastError while another process works on the same.
    """
    client = object_store(settings)
    target = f"{output.rstrip('/')}/{_place(address)}"
    with _working_on(settings.workspace / "batch", address, target) as work:
        path = s3.fetch(client, address, work / "source" / _place(address))
        video = open_video(path, fps)
        with TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory) as triton:
            detect, forecast, models = served_models(triton, detector)
            run = BatchSettings(Camera(camera_name(path)), EPOCH, models, TrackerSettings(), annotate)
            identity = run_identity(video, run)
            report = _stored_report(client, target, work)
            if report.get("run") != identity:
                # What is left of a run with other models or another video is none of this one's.
                folder = work / identity
                folder.mkdir(exist_ok=True)
                report = run_batch(video, folder, detect, forecast, run)
                _replace(client, target, folder)
        shutil.rmtree(work)
    return {**report, "video": address, "stored_at": target}


def _stored_report(client: Minio, target: str, work: Path) -> dict[str, Any]:
    """What the results at `target` say of themselves; nothing where there are none, or it is damaged."""
    file = work / REPORT_FILE
    if not s3.fetch_file(client, f"{target}/{REPORT_FILE}", file):
        return {}
    with suppress(ValueError):
        return read_report(file)
    return {}


def _replace(client: Minio, target: str, folder: Path) -> None:
    """Put the results in `folder` to `target`, the report last: where it is, the rest is there as well."""
    for name in (REPORT_FILE, *RESULT_FILES):
        s3.remove(client, f"{target}/{name}")
    for name in (*RESULT_FILES, REPORT_FILE):
        if (folder / name).is_file():
            s3.store(client, folder / name, f"{target}/{name}")


@contextmanager
def _working_on(place: Path, address: str, target: str) -> Iterator[Path]:
    """The folder below `place` for this video and target, this process's alone."""
    name = hashlib.sha256(f"{address} {target}".encode()).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    busy = PathcastError(f"{address}: another run is writing {target}", hint="wait for it, or name another output")
    with file_lock(place / f"{name}.lock", busy):
        work = place / name
        work.mkdir(exist_ok=True)
        yield work


def _place(address: str) -> str:
    """What the results of a video or of a folder of images are called after; a folder's name may have dots."""
    path = PurePosixPath(address)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name
