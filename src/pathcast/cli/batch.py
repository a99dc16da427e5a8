"""`pathcast batch`: whole videos into tracks, forecasts and annotated videos."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.output_file import file_option, write_json
from pathcast.cli.tracker_options import SET_HELP, chosen_settings
from pathcast.core.settings import STATE_DIR, load_settings

if TYPE_CHECKING:
    from pathcast.core.camera import Camera
    from pathcast.serving.batch.run import BatchSettings
    from pathcast.serving.frame_analyzer import Detector, Forecaster
    from pathcast.tracking.settings import TrackerSettings

_EPOCH = "1970-01-01T00:00:00Z"
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
_FETCHED = ".fetched"
"""Where in the folder of the results what is from the object store lies; no video's results are called so."""


def batch(
    source: str = typer.Argument(help="A video, a folder of videos or of images, or s3://BUCKET/KEY of either."),
    out: Path = typer.Option(
        ..., file_okay=False, help="Folder of the results; one inside it for each video of a folder."
    ),
    detector: Path | None = typer.Option(
        None, help="ONNX file of the detector (served signature, or YOLOX as published); without it, Triton's."
    ),
    detector_model: str = typer.Option("detector", help="Name of the detector in Triton."),
    forecaster: Path | None = typer.Option(
        None, help="ONNX file of the forecaster; without it Triton's, or constant velocity next to --detector."
    ),
    camera_file: Path | None = typer.Option(None, help="Calibration (TOML, see docs/operating.md), for metres."),
    fps: float | None = typer.Option(None, help="True frame rate, where a file does not tell it or tells it wrong."),
    start_at: str = typer.Option(_EPOCH, help="Time of the first frame, ISO 8601 with zone."),
    appearance: Path | None = typer.Option(
        None, help="ONNX file of a re-identification model for the tracker, before the detector's own."
    ),
    camera_motion: bool = typer.Option(
        False, "--camera-motion/--fixed-camera", help="The camera moves: read its motion from the images."
    ),
    fix: list[str] = typer.Option([], "--set", help=SET_HELP),
    video: bool = typer.Option(True, "--video/--no-video", help="Write the annotated video too."),
    workers: int = typer.Option(2, min=1, help="Frames that --detector works on at a time, one thread each."),
    restart: bool = typer.Option(False, help="Replace what is in the folder instead of going on with it."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Detect, track and forecast in whole videos.

    Writes tracks.txt (MOT), tracks, forecasts and forecast_scores as Parquet, annotated.mp4 and batch.json. Give
    the same command again after an interruption: it goes on where it stopped, and the files are those of a run
    that was never interrupted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from pathcast.core.camera import read_camera_file
    from pathcast.core.errors import InvalidInputError
    from pathcast.serving.batch.run import run_batch
    from pathcast.serving.batch.segments import refuse_results_as_sources
    from pathcast.serving.batch.videos import find_videos, left_out, open_video

    moment = _moment(start_at)
    camera = None if camera_file is None else read_camera_file(camera_file)
    rate = fps if fps is not None or camera is None else camera.frames_per_second
    place, names = _fetched(source, out, state_dir)
    paths = find_videos(place)
    if paths == [place] and place.is_dir() and place.resolve() == out.resolve():
        raise InvalidInputError(
            f"--out {out}: expected another folder than that of the images", hint="name a new one, such as tracks"
        )
    # All are opened before any is worked on, so that a wrong one is told at once.
    videos = {out if len(paths) == 1 and path == place else out / path.stem: open_video(path, rate) for path in paths}
    refuse_results_as_sources((file for each in videos.values() for file in each.images or (each.path,)), videos)
    if others := left_out(names):
        Console(stderr=True).print(
            f"{source}: files left out: {len(others)} ({', '.join(others[:3])}{' …' if len(others) > 3 else ''})",
            style="yellow",
            markup=False,
        )
    detect, forecast, models = _models(detector, detector_model, forecaster, workers, state_dir)
    tracker = chosen_settings(fix, camera_motion)
    if appearance is not None:
        detect, look = _embedding(detect, appearance, tracker, workers)
        models = (*models, look)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    reports: dict[str, dict[str, Any]] = {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        tasks = {
            folder: progress.add_task(each.path.name, total=each.expected or None) for folder, each in videos.items()
        }
        for folder, each in videos.items():
            reports[each.path.name] = run_batch(
                each,
                folder,
                detect,
                forecast,
                _settings(camera, each.path, moment, models, tracker, video),
                restart=restart,
                advance=partial(progress.advance, tasks[folder]),
            )
    _show(reports, models, out)
    write_json(json, {"videos": reports, "models": models})


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--start-at: expected ISO 8601 such as 2026-05-01T12:00:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"--start-at: expected a time with its zone, got {text!r}; add Z for UTC")
    if not _EARLIEST <= moment < _LATEST:
        raise typer.BadParameter(
            f"--start-at: expected a time from {_EARLIEST.year} to {_LATEST.year - 1}, got {text!r}"
        )
    return moment.astimezone(UTC)


def _fetched(source: str, out: Path, state_dir: Path) -> tuple[Path, list[str]]:
    """Where the source lies on this machine, and the names of the files in it if it is a folder."""
    from pathcast.serving.batch.videos import files_in

    if not source.startswith("s3://"):
        return Path(source), [file.name for file in files_in(Path(source)) or ()]
    from pathcast.serving.batch import s3
    from pathcast.storage.object_store import object_store

    client = object_store(load_settings(state_dir))
    return s3.fetch(client, source, out / _FETCHED / PurePath(source).name), s3.names_below(client, source)


def _models(
    detector: Path | None, name: str, forecaster: Path | None, workers: int, state_dir: Path
) -> tuple[Detector, Forecaster, tuple[str, ...]]:
    """The models to use, and what tells them from others."""
    from pathcast.serving.local_models import ConstantVelocity, FileDetector, FileForecaster
    from pathcast.serving.remote_models import served_models

    local = None if forecaster is None else FileForecaster(forecaster)
    if detector is not None:
        found, ahead = FileDetector(detector, workers=workers), local or ConstantVelocity()
        return found, ahead, (f"{found.model} {found.version}", f"{ahead.model} {ahead.version}")
    from pathcast.core.errors import PathcastError
    from pathcast.serving.triton_client import TritonClient

    try:
        settings = load_settings(state_dir)
    except PathcastError as error:
        raise PathcastError(
            "no detector: the platform is not up, and no file is given", hint="pathcast up, or --detector FILE"
        ) from error
    client = TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory)
    remote, served, names = served_models(client, name)
    if local is not None:
        return remote, local, (names[0], f"{local.model} {local.version}")
    return remote, served, names


def _embedding(detector: Detector, path: Path, tracker: TrackerSettings, workers: int) -> tuple[Detector, str]:
    from pathcast.serving.appearance_model import EmbeddingDetector, FileAppearance

    look = FileAppearance(path)
    embedding = EmbeddingDetector(detector, look, least_score=tracker.high_score, workers=workers)
    return embedding, f"{look.model} {look.version}"


def _settings(
    camera: Camera | None,
    path: Path,
    moment: datetime,
    models: tuple[str, ...],
    tracker: TrackerSettings,
    video: bool,
) -> BatchSettings:
    from pathcast.core.camera import Camera
    from pathcast.serving.batch.run import BatchSettings
    from pathcast.serving.batch.videos import camera_name

    return BatchSettings(camera or Camera(camera_name(path)), moment, models, tracker, video)


def _show(reports: dict[str, dict[str, Any]], models: tuple[str, ...], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from pathcast.core.video import COUNTED_SUFFIXES

    table = Table(title=f"{out}: {', '.join(models)}")
    table.add_column("")
    for name in reports:
        table.add_column(name, justify="right")
    values = list(reports.values())
    table.add_row("frames", *(str(report["frames"]) for report in values))
    table.add_row("resumed from frame", *(str(report["resumed_from_frame"]) for report in values))
    table.add_row("frames/s", *(f"{report['fps']:.1f}" for report in values))
    for stage in ("decode", "detect", "track", "forecast", "draw", "encode", "write"):
        spent = (f"{report['stage_ms'].get(stage, 0):.2f}" for report in values)
        table.add_row(f"{stage}, ms a frame", *spent)
    console = Console()
    console.print(table)
    for name, report in reports.items():
        if PurePath(name).suffix.lower() in COUNTED_SUFFIXES and report["frames"] < report["frames_claimed"]:
            console.print(
                f"{name}: ended early, after {report['frames']} of {report['frames_claimed']} frames that it claims",
                style="yellow",
                markup=False,
            )
