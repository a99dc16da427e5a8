"""`pathcast evaluate tracker`: our tracker and its peers on the same detections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pathcast.cli.evaluate import app
from pathcast.core import Detections, FrameTracks, InvalidInputError, PathcastError
from pathcast.core.arrays import UInt8Array
from pathcast.tracking.evaluation import ScoredSequence, TrackingScores, evaluate
from pathcast.tracking.mot_format import (
    MotBoxes,
    SequenceInfo,
    from_tracks,
    read_boxes,
    read_sequence_info,
    to_detections,
)
from pathcast.tracking.peers import Peer, peers, ultralytics_peers
from pathcast.tracking.settings import AppearanceSettings, CameraMotionSettings, TrackerSettings
from pathcast.tracking.tracker import Tracker

_START = datetime(2000, 1, 1, tzinfo=UTC)
_OURS = "pathcast"


@dataclass(frozen=True, slots=True)
class _Contestant:
    """A fresh tracker; only `update` is timed. One with `looks` is given the frames' images, others None."""

    convert: Callable[[Detections, UInt8Array | None], Any]
    update: Callable[[Any, datetime, UInt8Array | None], Any]
    tracks: Callable[[Any], FrameTracks]
    looks: bool = False


@dataclass(frozen=True, slots=True)
class _Sequence:
    folder: Path
    info: SequenceInfo
    detections: list[Detections]
    ground_truth: MotBoxes


@app.command("tracker", epilog="Example: pathcast evaluate tracker --data mot15 --json scores.json")
def evaluate_tracker(
    data: list[Path] = typer.Option(
        ..., help="A MOT sequence (a folder with seqinfo.ini) or a folder of them; may be given more than once."
    ),
    detections: list[str] = typer.Option(
        ["det"], help="Folder, in the sequence or beside it, of det.txt; the first of these that a sequence has."
    ),
    appearance: Path | None = typer.Option(
        None, help="ONNX file of a re-identification model; needs each sequence's video in its folder or beside it."
    ),
    camera_motion: bool = typer.Option(
        False, "--camera-motion/--fixed-camera", help="Read the camera's motion from the video too."
    ),
    results: Path | None = typer.Option(
        None, help="Folder with a MOT file NAME.txt for each sequence, of any tracker: score these results too."
    ),
    with_peers: bool = typer.Option(True, "--peers/--no-peers", help="Run the peers too."),
    json: Path | None = typer.Option(None, help="Write the scores to this file."),
) -> None:
    """Score the tracker on MOT sequences: HOTA, MOTA, IDF1, identity switches and time per update.

    SORT, ByteTrack, OC-SORT and C-BIoU of the `trackers` library, and Ultralytics' ByteTrack where that is
    installed, run beside it at their libraries' defaults. With --appearance or --camera-motion the tracker runs
    with and without them; the time of the appearance model is not counted.
    """
    console = Console()
    sequences = {item.info.name: item for item in _read(data, detections)}
    contestants = {_OURS: _ours} | _with_images(appearance, camera_motion) | _peers(with_peers, console)
    measured: dict[str, dict[str, Any]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        frames = sum(item.info.length for item in sequences.values())
        task = progress.add_task("tracking", total=frames * len(contestants))
        for name, make in contestants.items():
            progress.update(task, description=name)
            scored: dict[str, ScoredSequence] = {}
            seconds: dict[str, float] = {}
            for key, item in sequences.items():
                boxes, seconds[key] = _track(make(), item, lambda: progress.advance(task))
                scored[key] = ScoredSequence(item.ground_truth, boxes, item.info.length)
            measured[name] = _summary(scored, seconds)
    if results is not None:
        measured[results.name] = _summary({key: _submitted(results, item) for key, item in sequences.items()}, {})
    _print(console, measured, sorted(sequences))
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode({"trackers": measured})))


def _read(data: list[Path], names: list[str]) -> list[_Sequence]:
    folders = []
    for root in data:
        found = sorted(path.parent for path in root.rglob("seqinfo.ini"))
        if not found:
            raise InvalidInputError(
                f"{root}: expected a MOT sequence or a folder of them, found no seqinfo.ini",
                hint="a sequence is a folder with seqinfo.ini, gt/gt.txt and det/det.txt",
            )
        folders += found
    return [_read_sequence(folder, names) for folder in folders]


def _read_sequence(folder: Path, names: list[str]) -> _Sequence:
    info = read_sequence_info(folder)
    places = [place / name / "det.txt" for name in names for place in (folder, folder.parent)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InvalidInputError(
            f"{folder}: expected detections at one of {', '.join(map(str, places))}",
            hint="name their folder: --detections",
        )
    boxes = read_boxes(path, length=info.length)
    try:
        detections = to_detections(boxes, info.length)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}", hint="choose detections with scores from 0 to 1") from error
    return _Sequence(
        folder, info, detections, read_boxes(folder / "gt" / "gt.txt", length=info.length, identified=True)
    )


def _ours() -> _Contestant:
    tracker = Tracker()
    return _Contestant(lambda detections, _: detections, tracker.update, lambda tracks: tracks)


def _with_images(appearance: Path | None, camera_motion: bool) -> dict[str, Callable[[], _Contestant]]:
    """The tracker with the options that were asked for, each alone and both."""
    contestants: dict[str, Callable[[], _Contestant]] = {}
    motion = CameraMotionSettings() if camera_motion else None
    if appearance is not None:
        from pathcast.serving.appearance_model import FileAppearance, embedded

        look = partial(embedded, FileAppearance(appearance), least_score=TrackerSettings().high_score)
        settings = TrackerSettings(appearance=AppearanceSettings())
        contestants[f"{_OURS} + appearance"] = partial(_watching, settings, look)
        if motion is not None:
            both = TrackerSettings(appearance=AppearanceSettings(), camera_motion=motion)
            contestants[f"{_OURS} + appearance + camera motion"] = partial(_watching, both, look)
    if motion is not None:
        contestants[f"{_OURS} + camera motion"] = partial(_watching, TrackerSettings(camera_motion=motion), None)
    return contestants


def _watching(settings: TrackerSettings, look: Callable[..., Detections] | None) -> _Contestant:
    def convert(detections: Detections, image: UInt8Array | None) -> Detections:
        return detections if look is None else look(image, detections)

    return _Contestant(convert, Tracker(settings).update, lambda tracks: tracks, looks=True)


def _peers(wanted: bool, console: Console) -> dict[str, Callable[[], _Contestant]]:
    """The peers that are installed; says which are not."""
    contestants: dict[str, Callable[[], _Contestant]] = {}
    for find in (peers, ultralytics_peers) if wanted else ():
        try:
            contestants |= {name: partial(_peer, make) for name, make in find().items()}
        except PathcastError as error:
            console.print(f"without {error}", style="yellow", markup=False, highlight=False)
    return contestants


def _peer(make: Callable[[], Peer]) -> _Contestant:
    peer = make()
    return _Contestant(
        lambda detections, _: peer.convert(detections), lambda detections, *_: peer.update(detections), peer.tracks
    )


def _images(item: _Sequence) -> Iterator[UInt8Array]:
    """The frames of a sequence, from a video in its folder or beside it."""
    from pathcast.serving.batch.videos import VIDEO_SUFFIXES, open_video

    files = [path for place in (item.folder, item.folder.parent) for path in sorted(place.iterdir())]
    video = next((path for path in files if path.suffix.lower() in VIDEO_SUFFIXES), None)
    if video is None:
        raise InvalidInputError(
            f"{item.folder}: expected the sequence's video here or in {item.folder.parent}, found none",
            hint="leave --appearance and --camera-motion out for sequences without images",
        )
    frames = 0
    for image in open_video(video, item.info.frame_rate).frames():
        frames += 1
        yield image
    if frames < item.info.length:
        raise InvalidInputError(f"{video}: expected {item.info.length} frames, got {frames}")


def _track(contestant: _Contestant, item: _Sequence, on_frame: Callable[[], None]) -> tuple[MotBoxes, float]:
    """The boxes of one tracker, and the seconds its updates took."""
    tracks: dict[int, FrameTracks] = {}
    spent = 0.0
    images: Iterable[UInt8Array | None] = _images(item) if contestant.looks else [None] * item.info.length
    # The video may be longer than the sequence.
    for frame, (detections, image) in enumerate(zip(item.detections, images, strict=False)):
        captured_at = _START + timedelta(seconds=frame / item.info.frame_rate)
        converted = contestant.convert(detections, image)
        before = time.perf_counter()
        result = contestant.update(converted, captured_at, image)
        spent += time.perf_counter() - before
        tracks[frame + 1] = contestant.tracks(result)
        on_frame()
    return from_tracks(tracks), spent


def _submitted(folder: Path, item: _Sequence) -> ScoredSequence:
    boxes = read_boxes(folder / f"{item.info.name}.txt", length=item.info.length, identified=True)
    return ScoredSequence(item.ground_truth, boxes, item.info.length)


def _summary(results: dict[str, ScoredSequence], seconds: dict[str, float]) -> dict[str, Any]:
    """The figures over all and of each; `seconds` is empty for results that were made elsewhere."""
    overall, each = evaluate(results)
    frames = sum(result.length for result in results.values())
    return {
        **_figures(overall, sum(seconds.values()) if seconds else None, frames),
        "sequences": {key: _figures(each[key], seconds.get(key), results[key].length) for key in results},
    }


def _figures(scores: TrackingScores, seconds: float | None, frames: int) -> dict[str, float | None]:
    return {
        "hota": round(scores.hota, 3),
        "mota": round(scores.mota, 3),
        "idf1": round(scores.idf1, 3),
        "id_switches": scores.id_switches,
        "fragments": scores.fragments,
        "false_positives": scores.false_positives,
        "misses": scores.misses,
        "ms_per_update": None if seconds is None else round(1000 * seconds / frames, 4),
    }


def _print(console: Console, measured: dict[str, dict[str, Any]], sequences: list[str]) -> None:
    table = Table(title=f"{len(sequences)} sequence(s): {', '.join(sequences)}")
    for heading in ("tracker", "HOTA", "MOTA", "IDF1", "ID switches", "fragments", "ms/update"):
        table.add_column(heading, justify="left" if heading == "tracker" else "right")

    def add(label: str, figures: dict[str, Any]) -> None:
        percent = [f"{figures[key]:.1f}" for key in ("hota", "mota", "idf1")]
        counts = [str(figures[key]) for key in ("id_switches", "fragments")]
        spent = figures["ms_per_update"]
        table.add_row(label, *percent, *counts, "" if spent is None else f"{spent:.3f}")

    for name, figures in measured.items():
        add(name, figures)
    if len(sequences) > 1:
        for key in sequences:
            table.add_section()
            for name, figures in measured.items():
                add(f"{key}: {name}", figures["sequences"][key])
    console.print(table)
