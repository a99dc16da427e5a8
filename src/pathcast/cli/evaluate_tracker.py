"""`pathcast evaluate tracker`: our tracker and its peers on the same detections."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from pathcast.tracking.evaluation import ScoredSequence, TrackingScores, evaluate
from pathcast.tracking.mot_format import (
    MotBoxes,
    SequenceInfo,
    from_tracks,
    read_boxes,
    read_sequence_info,
    to_detections,
)
from pathcast.tracking.peers import Peer, peers
from pathcast.tracking.tracker import Tracker

_START = datetime(2000, 1, 1, tzinfo=UTC)
_OURS = "pathcast"


@dataclass(frozen=True, slots=True)
class _Contestant:
    """A fresh tracker; only `update` is timed."""

    convert: Callable[[Detections], Any]
    update: Callable[[Any, datetime], Any]
    tracks: Callable[[Any], FrameTracks]


@dataclass(frozen=True, slots=True)
class _Sequence:
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
    with_peers: bool = typer.Option(True, "--peers/--no-peers", help="Run the peers too."),
    json: Path | None = typer.Option(None, help="Write the scores to this file."),
) -> None:
    """Score the tracker on MOT sequences: HOTA, MOTA, IDF1, identity switches and time per update.

    SORT, ByteTrack, OC-SORT and C-BIoU of the `trackers` library run beside it at that library's defaults.
    """
    console = Console()
    sequences = {item.info.name: item for item in _read(data, detections)}
    contestants = _contestants(with_peers, console)
    measured: dict[str, dict[str, Any]] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        frames = sum(item.info.length for item in sequences.values())
        task = progress.add_task("tracking", total=frames * len(contestants))
        for name, make in contestants.items():
            progress.update(task, description=name)
            results: dict[str, ScoredSequence] = {}
            seconds: dict[str, float] = {}
            for key, item in sequences.items():
                boxes, seconds[key] = _track(make(), item, lambda: progress.advance(task))
                results[key] = ScoredSequence(item.ground_truth, boxes, item.info.length)
            measured[name] = _summary(results, seconds)
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
    return _Sequence(info, detections, read_boxes(folder / "gt" / "gt.txt", length=info.length, identified=True))


def _contestants(with_peers: bool, console: Console) -> dict[str, Callable[[], _Contestant]]:
    contestants: dict[str, Callable[[], _Contestant]] = {_OURS: _ours}
    if with_peers:
        try:
            contestants |= {name: partial(_peer, make) for name, make in peers().items()}
        except PathcastError as error:
            console.print(f"without peers: {error}", style="yellow", markup=False, highlight=False)
    return contestants


def _ours() -> _Contestant:
    return _Contestant(lambda detections: detections, Tracker().update, lambda tracks: tracks)


def _peer(make: Callable[[], Peer]) -> _Contestant:
    peer = make()
    return _Contestant(peer.convert, lambda detections, _: peer.update(detections), peer.tracks)


def _track(contestant: _Contestant, item: _Sequence, on_frame: Callable[[], None]) -> tuple[MotBoxes, float]:
    """The boxes of one tracker, and the seconds its updates took."""
    tracks: dict[int, FrameTracks] = {}
    spent = 0.0
    for frame, detections in enumerate(item.detections):
        captured_at = _START + timedelta(seconds=frame / item.info.frame_rate)
        converted = contestant.convert(detections)
        before = time.perf_counter()
        result = contestant.update(converted, captured_at)
        spent += time.perf_counter() - before
        tracks[frame + 1] = contestant.tracks(result)
        on_frame()
    return from_tracks(tracks), spent


def _summary(results: dict[str, ScoredSequence], seconds: dict[str, float]) -> dict[str, Any]:
    overall, each = evaluate(results)
    frames = sum(result.length for result in results.values())
    return {
        **_figures(overall, sum(seconds.values()), frames),
        "sequences": {key: _figures(each[key], seconds[key], results[key].length) for key in results},
    }


def _figures(scores: TrackingScores, seconds: float, frames: int) -> dict[str, float]:
    return {
        "hota": round(scores.hota, 3),
        "mota": round(scores.mota, 3),
        "idf1": round(scores.idf1, 3),
        "id_switches": scores.id_switches,
        "fragments": scores.fragments,
        "false_positives": scores.false_positives,
        "misses": scores.misses,
        "ms_per_update": round(1000 * seconds / frames, 4),
    }


def _print(console: Console, measured: dict[str, dict[str, Any]], sequences: list[str]) -> None:
    table = Table(title=f"{len(sequences)} sequence(s): {', '.join(sequences)}")
    for heading in ("tracker", "HOTA", "MOTA", "IDF1", "ID switches", "fragments", "ms/update"):
        table.add_column(heading, justify="left" if heading == "tracker" else "right")

    def add(label: str, figures: dict[str, Any]) -> None:
        percent = [f"{figures[key]:.1f}" for key in ("hota", "mota", "idf1")]
        counts = [str(figures[key]) for key in ("id_switches", "fragments")]
        table.add_row(label, *percent, *counts, f"{figures['ms_per_update']:.3f}")

    for name, figures in measured.items():
        add(name, figures)
    if len(sequences) > 1:
        for key in sequences:
            table.add_section()
            for name, figures in measured.items():
                add(f"{key}: {name}", figures["sequences"][key])
    console.print(table)
