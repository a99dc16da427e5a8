"""`pathcast stream`: send the frames of cameras to the platform."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.camera import describe, read_descriptions
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.errors import PathcastError
from pathcast.core.settings import STATE_DIR, PlatformSettings, load_settings

if TYPE_CHECKING:
    from pathcast.messaging.frame_producer import CameraStream, StreamReport


def stream(
    sources: list[str] = typer.Argument(help="Video files, folders of images or rtsp:// addresses."),
    camera: list[str] = typer.Option(help="The camera's id; once for each source, in the same order."),
    camera_file: list[Path] = typer.Option(
        [], help="Calibration of a camera (TOML, see docs/operating.md); its id must be one of --camera."
    ),
    fps: float | None = typer.Option(None, help="True frame rate, where a file does not tell it or tells it wrong."),
    pace: str = typer.Option("1", help="Factor to real time, or 'fast' for as fast as the platform takes it."),
    first_frame: int = typer.Option(0, min=0, help="Start at this frame of a recording, counted from 0."),
    frame_count: int | None = typer.Option(None, min=1, help="Stop after this many frames of each source."),
    start_at: str | None = typer.Option(
        None, help="Time of frame 0 of a recording, ISO 8601 with zone; the first frame sent is of now by default."
    ),
    quality: int = typer.Option(95, min=1, max=100, help="JPEG quality; JPEG files are sent as they are."),
    skip_stale: bool = typer.Option(False, help="Leave frames out, counted, while the broker cannot keep up."),
    connect_limit_s: float = typer.Option(30.0, min=0.1, help="How long a live camera may be away before it is gone."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Send video files, folders of images or RTSP cameras to the platform, several at once.

    Exits when all recordings are sent and acknowledged; a live camera runs until Ctrl-C. A recording that Ctrl-C stops
    ends it with 1, and the frame to go on with.
    """
    if len(sources) != len(camera):
        raise typer.BadParameter(f"expected one --camera for each of the {len(sources)} sources, got {len(camera)}")
    from pathcast.messaging.frame_producer import CameraStream
    from pathcast.messaging.sources import open_source

    factor, moment = _pace(pace), _moment(start_at)
    settings = load_settings(state_dir)
    rates = _describe(camera_file, camera, settings)
    cameras = [
        CameraStream(
            camera_id,
            open_source(
                source,
                fps=fps if fps is not None or "://" in source else rates.get(camera_id),
                first_frame=first_frame,
                frame_count=frame_count,
                quality=quality,
                connect_limit_s=connect_limit_s,
            ),
            start_at=moment,
            pace=factor,
            skip_stale=skip_stale,
        )
        for source, camera_id in zip(sources, camera, strict=True)
    ]
    reports = _send(cameras, settings.kafka_bootstrap, settings.frames_topic)
    _show(reports)
    write_json(json, {"cameras": reports})
    _require_whole(cameras, reports)


def _describe(files: list[Path], camera_ids: list[str], settings: PlatformSettings) -> dict[str, float | None]:
    """Make the described cameras known to the platform; return their true frame rates."""
    described = read_descriptions(files)
    for file, each in zip(files, described, strict=True):
        if each.camera_id not in camera_ids:
            raise typer.BadParameter(f"--camera-file {file} is of {each.camera_id}, which is not among --camera")
    describe(settings, described)
    return {each.camera_id: each.frames_per_second for each in described}


def _pace(text: str) -> float | None:
    if text == "fast":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not factor > 0:
        raise typer.BadParameter(f"--pace: expected a positive factor such as 1 or 2.5, or 'fast', got {text!r}")
    return factor


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--start-at: expected ISO 8601 such as 2026-05-01T12:00:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"--start-at: expected a time with its zone, got {text!r}; add Z for UTC")
    return moment.astimezone(UTC)


def _send(cameras: list[CameraStream], bootstrap: str, topic: str) -> list[StreamReport]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pathcast.messaging.frame_producer import FrameProducer
    from pathcast.messaging.record_producer import RecordProducer
    from pathcast.messaging.service import stop_signals

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        stop_signals() as stop,
        Progress(*columns, console=Console(stderr=True)) as progress,
        RecordProducer(bootstrap, client_id="pathcast-stream") as producer,
    ):
        tasks = {each.camera_id: progress.add_task(each.camera_id, total=each.source.expected) for each in cameras}
        lock = threading.Lock()

        def advance(camera_id: str) -> None:
            with lock:
                progress.advance(tasks[camera_id])

        return FrameProducer(producer, topic=topic, stop=stop).stream_all(cameras, advance)


def _require_whole(cameras: Sequence[CameraStream], reports: Sequence[StreamReport]) -> None:
    """Raise PathcastError where a recording was stopped; for a live camera that is its end."""
    left = [
        f"{report.camera_id} before frame {report.stopped_at}"
        for camera, report in zip(cameras, reports, strict=True)
        if report.stopped_at is not None and camera.source.fps is not None
    ]
    if left:
        hint = (
            "go on with --first-frame, a command for each camera; at another pace than 1, or after --start-at, give "
            "--start-at too: the time of frame 0"
        )
        raise PathcastError(f"stopped: {', '.join(left)}", hint=hint)


def _show(reports: list[StreamReport]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("camera", "frames", "skipped", "MB", "fps", "first frame", "last frame")
    for report in reports:
        table.add_row(
            report.camera_id,
            str(report.frames_sent),
            str(report.frames_skipped),
            f"{report.bytes_sent / 1e6:.1f}",
            f"{report.frames_sent / max(report.seconds, 1e-9):.1f}",
            "" if report.first_captured_at is None else report.first_captured_at.isoformat(),
            "" if report.last_captured_at is None else report.last_captured_at.isoformat(),
        )
    Console().print(table)
