"""`pathcast label`: a teacher labels recordings; people correct the result; the correction is read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.output_file import file_option, write_json
from pathcast.core.image_file import read_image

if TYPE_CHECKING:
    from pathcast.training.labelling import RecordedFrame

IMAGE_FOLDER = "images"
SHIPPED = Path(__file__).parents[3] / "model_repo" / "detector" / "1" / "model.onnx"
"""The detector that comes with the project, wherever the command is run."""


def label(
    source: Path | None = typer.Argument(None, help="A video, or a folder of images in the order of their names."),
    camera: str | None = typer.Option(None, help="The camera's name; with --since, its frames from the archive."),
    since: datetime | None = typer.Option(None, help="From the archive: frames from this time on, UTC."),
    until: datetime | None = typer.Option(None, help="From the archive: frames before this time, UTC."),
    teacher: Path = typer.Option(
        SHIPPED,
        help="A served detector's ONNX file, or a .pt of Ultralytics (AGPL-3.0, extra `yolo`).",
    ),
    output: Path = typer.Option(Path("labels"), file_okay=False, help="Folder for images/ and labels.json."),
    sure: float = typer.Option(0.4, min=0, max=1, help="Score from which a box is a label."),
    unsure: float = typer.Option(0.1, min=0, max=1, help="Score from which a box is marked as ignored."),
    frames: int = typer.Option(3, min=1, help="Frames on which an object must be seen."),
    every: int = typer.Option(5, min=1, help="Keep every so many-th frame; the tracker sees all of them."),
    rate: float = typer.Option(10.0, min=0.01, help="Frames per second of a folder of images."),
    threads: int = typer.Option(1, min=1, help="CPU threads of the teacher."),
    state_dir: Path = typer.Option(
        Path(".pathcast"), file_okay=False, help="The local platform's state, to find its archive."
    ),
    json: Path | None = file_option("Also write the counts to this file."),
) -> None:
    """Label frames with a teacher, keep what it is sure of and what lasts, and write COCO JSON.

    CVAT and Label Studio import OUTPUT/labels.json with the images beside it. `pathcast data correct` takes back
    what people made of it; `pathcast train detector --data OUTPUT/labels.json` learns from it.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.detection.coco_json import write_coco
    from pathcast.detection.labelled import LabelledImages
    from pathcast.training.labelling import LabellingSettings
    from pathcast.training.labelling import label as label_frames
    from pathcast.training.teachers import find_teacher, teacher_name

    rules = LabellingSettings(sure, unsure, frames, every)
    if (source is None) == (since is None):
        raise InvalidInputError("label: expected a SOURCE, or --camera with --since and --until for the archive")
    target = output / "labels.json"
    if target.exists():
        raise InvalidInputError(
            f"{target}: expected no labels here yet; what people corrected in them would be lost",
            hint="name another --output, or remove the file",
        )
    images = output / IMAGE_FOLDER
    if images.is_dir() and any(images.iterdir()):
        raise InvalidInputError(
            f"{images}: expected no images here yet; those that are labelled are written there",
            hint="name another --output; or this one once more without the images of a run that was cut short",
        )
    looks, total = find_teacher(teacher, threads), None
    if source is None:
        recorded, total = _archived(camera, since, until, state_dir, output, every)
    else:
        recorded = _kept(_recorded(source, rate), output, every)
    name = camera or (source.stem if source is not None else "")
    console = Console()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        labelled = label_frames(progress.track(recorded, total=total, description="labelling"), looks, name, rules)
    if not labelled:
        raise InvalidInputError(f"{source or name}: no frames")
    about = {"teacher": teacher_name(teacher), "labelling": asdict(rules)}
    found = LabelledImages(output, tuple(labelled), about=about)
    write_coco(target, found)
    ignored = int(sum(image.ignored.sum() for image in found))
    boxes = found.boxes_by_class()
    listed = ", ".join(f"{count} {kind}" for kind, count in boxes.items()) or "no boxes"
    console.print(
        f"{target}: {len(found)} images, {listed}; {ignored} boxes marked as ignored",
        markup=False,
        highlight=False,
    )
    if json is not None:
        counts = {"images": len(found), "boxes": boxes, "ignored_boxes": ignored, "teacher": str(teacher)}
        write_json(json, counts)


def _kept(frames: Iterable[RecordedFrame], output: Path, every: int) -> Iterator[RecordedFrame]:
    """Pass frames on; those that are kept are written, since labels without pixels teach nothing."""
    from pathcast.training.recordings import write_jpeg

    for number, frame in enumerate(frames):
        if number % every == 0:
            write_jpeg(output / frame.name, frame.pixels)
        yield frame


def _recorded(source: Path, rate: float) -> Iterator[RecordedFrame]:
    from datetime import UTC, timedelta

    import numpy as np

    from pathcast.core.errors import InvalidInputError
    from pathcast.core.video import IMAGE_SUFFIXES
    from pathcast.detection.labelled import one_file_each
    from pathcast.training.labelling import RecordedFrame
    from pathcast.training.recordings import read_video

    if source.is_dir():
        start = datetime(2000, 1, 1, tzinfo=UTC)
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        names = {path: f"{IMAGE_FOLDER}/{path.relative_to(source).with_suffix('.jpg').as_posix()}" for path in paths}
        one_file_each({str(path): Path(name) for path, name in names.items()}, "an image file")
        for number, path in enumerate(paths):
            pixels = read_image(path)
            if pixels is None:
                raise InvalidInputError(f"{path}: not a readable image")
            yield RecordedFrame(names[path], start + timedelta(seconds=number / rate), np.asarray(pixels, np.uint8))
        return
    for number, (captured_at, pixels) in enumerate(read_video(source), start=1):
        yield RecordedFrame(f"{IMAGE_FOLDER}/{source.stem}_{number:06d}.jpg", captured_at, pixels)


def _archived(
    camera: str | None, since: datetime | None, until: datetime | None, state_dir: Path, output: Path, every: int
) -> tuple[Iterator[RecordedFrame], int]:
    """One camera's frames of a span of time from the platform's archive, in order, and how many there are."""
    from datetime import UTC

    from pathcast.core.errors import InvalidInputError
    from pathcast.core.settings import load_settings
    from pathcast.storage.archive import FrameArchive
    from pathcast.storage.connection import connect
    from pathcast.storage.reads import read_frame_rows
    from pathcast.training.archived_frames import ArchiveSpan, read_frames

    if camera is None or since is None or until is None:
        raise InvalidInputError("label: expected --camera, --since and --until together")
    settings = load_settings(state_dir)
    asked = ArchiveSpan((camera,), since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))
    with connect(settings.database_url, application_name="label") as connection:
        asked.find(connection)
        rows = read_frame_rows(connection, camera, asked.since, asked.until)
    return read_frames(FrameArchive.connect(settings), rows, output, IMAGE_FOLDER, every), len(rows)
