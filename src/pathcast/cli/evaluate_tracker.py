"""`pathcast evaluate tracker`: our tracker and its peers on the same detections."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from pathcast.cli.evaluate import app
from pathcast.cli.output_file import file_option, write_json
from pathcast.cli.tracker_contestants import OURS, Contestant, installed_peers, ours
from pathcast.cli.tracker_options import SET_HELP, chosen_settings
from pathcast.core import Detections, FrameTracks, InvalidInputError
from pathcast.core.arrays import UInt8Array
from pathcast.detection.classes import PERSON
from pathcast.tracking.evaluation import ScoredSequence, TrackingScores, evaluate
from pathcast.tracking.mot_format import TRUTH_FILE, MotBoxes, SequenceInfo, from_tracks, read_boxes, read_sequence_info
from pathcast.tracking.mot_sequences import find_sequences, pictures_of, read_detections

if TYPE_CHECKING:
    from pathcast.serving.local_models import FileDetector

_START = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """`detections` begin with frame `first`, counted from 1."""

    folder: Path
    info: SequenceInfo
    detections: list[Detections]
    ground_truth: MotBoxes
    first: int


@app.command("tracker", epilog="Example: pathcast evaluate tracker --data mot15 --json scores.json")
def evaluate_tracker(
    data: list[Path] = typer.Option(
        ..., help="A MOT sequence (a folder with seqinfo.ini) or a folder of them; may be given more than once."
    ),
    detections: list[str] = typer.Option(
        ["det"], help="Folder, in the sequence or beside it, of det.txt; the first of these that a sequence has."
    ),
    detector: Path | None = typer.Option(
        None, help="ONNX file of a detector whose detections of people count instead; needs each sequence's video."
    ),
    first_frame: int = typer.Option(1, min=1, help="Track and score from this frame on, counted from 1."),
    appearance: Path | None = typer.Option(
        None, help="ONNX file of a re-identification model; needs each sequence's video in its folder or beside it."
    ),
    camera_motion: bool = typer.Option(
        False, "--camera-motion/--fixed-camera", help="Read the camera's motion from the video too."
    ),
    fix: list[str] = typer.Option([], "--set", help=SET_HELP),
    results: Path | None = typer.Option(
        None, help="Folder with a MOT file NAME.txt for each sequence, of any tracker: score these results too."
    ),
    with_peers: bool = typer.Option(True, "--peers/--no-peers", help="Run the peers too."),
    json: Path | None = file_option("Write the scores to this file."),
) -> None:
    """Score the tracker on MOT sequences: HOTA, MOTA, IDF1, identity switches and time per update.

    SORT, ByteTrack, OC-SORT and C-BIoU of the `trackers` library, and Ultralytics' ByteTrack where that is
    installed, run beside it at their libraries' defaults. With --appearance or --camera-motion, or a --detector that
    serves embeddings, the tracker runs with and without them; the time of the models is not counted.
    """
    console = Console()
    found = None if detector is None else _open(detector)
    sequences = {item.info.name: item for item in _read(data, detections, found, first_frame)}
    embeds = found is not None and found.embeds
    contestants = ours(chosen_settings(fix, camera_motion), appearance, embeds) | installed_peers(with_peers, console)
    submission = None if results is None else _name_of(results, contestants)
    measured: dict[str, dict[str, Any]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        frames = sum(len(item.detections) for item in sequences.values())
        task = progress.add_task("tracking", total=frames * len(contestants))
        for name, make in contestants.items():
            progress.update(task, description=name)
            scored: dict[str, ScoredSequence] = {}
            seconds: dict[str, list[float]] = {}
            for key, item in sequences.items():
                boxes, seconds[key] = _track(make(), item, lambda: progress.advance(task))
                scored[key] = ScoredSequence(item.ground_truth, boxes, item.info.length)
            measured[name] = _summary(scored, seconds)
    if results is not None and submission is not None:
        given = {key: _submitted(console, results, item) for key, item in sequences.items()}
        measured[submission] = _summary(given, {})
    write_json(json, {"trackers": measured})
    _print(console, measured, sorted(sequences))
    # For programs that read what is printed, such as Katib's metrics collector.
    console.print(f"hota {measured[OURS]['hota']}", highlight=False)


def _name_of(results: Path, contestants: Collection[str]) -> str:
    """What the row of the given results is called."""
    name = results.resolve().name
    if name in contestants:
        raise InvalidInputError(f"--results {results}: {name} is a row of its own", hint="give the folder another name")
    return name


def _open(detector: Path) -> FileDetector:
    from pathcast.serving.local_models import FileDetector

    return FileDetector(detector)


def _read(data: list[Path], names: list[str], detector: FileDetector | None, first: int) -> list[_Sequence]:
    return [_read_sequence(folder, names, detector, first) for folder in find_sequences(data)]


def _read_sequence(folder: Path, names: list[str], detector: FileDetector | None, first: int) -> _Sequence:
    info = read_sequence_info(folder)
    if first > info.length:
        raise InvalidInputError(f"{folder}: expected --first-frame within its {info.length} frames, got {first}")
    truth = read_boxes(folder / TRUTH_FILE, length=info.length, identified=True)
    truth = truth.select(truth.frames >= first)
    if not (truth.confidences != 0).any():
        raise InvalidInputError(f"{folder / TRUTH_FILE}: expected a box that counts, found none from frame {first} on")
    if detector is None:
        found = read_detections(folder, info, names)[first - 1 :]
    else:
        found = _detected(folder, info, detector, first)
    return _Sequence(folder, info, found, truth, first)


def _detected(folder: Path, info: SequenceInfo, detector: FileDetector, first: int) -> list[Detections]:
    """The people whom the detector finds in each frame from `first` on; MOT sequences know no other class."""
    found = []
    for image, _ in zip(_images(folder, info, first), range(first, info.length + 1), strict=False):
        (detections,), _ = detector.detect([image])
        found.append(detections.select(detections.class_ids == PERSON))
    return found


def _images(folder: Path, info: SequenceInfo, first: int) -> Iterator[UInt8Array]:
    """The frames of a sequence from `first` on: its own images, or a video in its folder or beside it."""
    from pathcast.serving.batch.videos import open_video

    video = pictures_of(folder, info)
    if video is None:
        raise InvalidInputError(
            f"{folder}: expected the sequence's images in {info.image_folder}/, or its video here or in "
            f"{folder.parent}, found none",
            hint="leave --detector, --appearance and --camera-motion out for sequences without images",
        )
    frames = first - 1
    for image in open_video(video, info.frame_rate).frames(frames):
        frames += 1
        yield image
    if frames < info.length:
        raise InvalidInputError(f"{video}: expected {info.length} frames, got {frames}")


def _track(contestant: Contestant, item: _Sequence, on_frame: Callable[[], None]) -> tuple[MotBoxes, list[float]]:
    """The boxes of one tracker, and the seconds that each of its updates took."""
    tracks: dict[int, FrameTracks] = {}
    spent = []
    images: Iterable[UInt8Array | None] = [None] * len(item.detections)
    if contestant.looks:
        images = _images(item.folder, item.info, item.first)
    # The video may be longer than the sequence.
    for frame, (detections, image) in enumerate(zip(item.detections, images, strict=False), start=item.first):
        captured_at = _START + timedelta(seconds=(frame - 1) / item.info.frame_rate)
        converted = contestant.convert(detections, image)
        before = time.perf_counter()
        result = contestant.update(converted, captured_at, image)
        spent.append(time.perf_counter() - before)
        tracks[frame] = contestant.tracks(result)
        on_frame()
    return from_tracks(tracks), spent


def _submitted(console: Console, folder: Path, item: _Sequence) -> ScoredSequence:
    """The given results, of the ground truth's classes; of itself, given as results, not what it marks by 0."""
    path = folder / f"{item.info.name}.txt"
    boxes = read_boxes(path, length=item.info.length, identified=True)
    kinds = np.unique(item.ground_truth.classes[item.ground_truth.confidences != 0])
    of_kind = np.isin(boxes.classes, kinds)
    if not of_kind.all():
        left_out = (
            f"{path}: {np.count_nonzero(~of_kind)} rows left out, their classes are not the ground truth's {kinds}"
        )
        console.print(left_out, style="yellow", markup=False, highlight=False)
        boxes = boxes.select(of_kind)
    marked = set(_rows(item.ground_truth.select(item.ground_truth.confidences == 0)))
    counts = np.array([row not in marked for row in _rows(boxes)], dtype=bool)
    return ScoredSequence(item.ground_truth, boxes.select(counts & (boxes.frames >= item.first)), item.info.length)


def _rows(boxes: MotBoxes) -> list[tuple[float, ...]]:
    """Frame, id, box and confidence of each row."""
    return [tuple(row) for row in np.column_stack((boxes.frames, boxes.ids, boxes.xyxy, boxes.confidences)).tolist()]


def _summary(results: dict[str, ScoredSequence], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """The figures over all and of each; `seconds` of each update is empty for results that were made elsewhere."""
    overall, each = evaluate(results)
    return {
        **_figures(overall, [spent for updates in seconds.values() for spent in updates]),
        "sequences": {key: _figures(each[key], seconds.get(key, [])) for key in results},
    }


def _figures(scores: TrackingScores, seconds: list[float]) -> dict[str, float | None]:
    return {
        "hota": round(scores.hota, 3),
        "mota": round(scores.mota, 3),
        "idf1": round(scores.idf1, 3),
        "id_switches": scores.id_switches,
        "fragments": scores.fragments,
        "false_positives": scores.false_positives,
        "misses": scores.misses,
        "ms_per_update": round(1000 * fmean(seconds), 4) if seconds else None,
    }


def _print(console: Console, measured: dict[str, dict[str, Any]], sequences: list[str]) -> None:
    table = Table(title=escape(f"{len(sequences)} sequence(s): {', '.join(sequences)}"))
    for heading in ("tracker", "HOTA", "MOTA", "IDF1", "ID switches", "fragments", "ms/update"):
        table.add_column(heading, justify="left" if heading == "tracker" else "right")

    def add(label: str, figures: dict[str, Any]) -> None:
        percent = [f"{figures[key]:.1f}" for key in ("hota", "mota", "idf1")]
        counts = [str(figures[key]) for key in ("id_switches", "fragments")]
        spent = figures["ms_per_update"]
        table.add_row(escape(label), *percent, *counts, "" if spent is None else f"{spent:.3f}")

    for name, figures in measured.items():
        add(name, figures)
    if len(sequences) > 1:
        for key in sequences:
            table.add_section()
            for name, figures in measured.items():
                add(f"{key}: {name}", figures["sequences"][key])
    console.print(table)
