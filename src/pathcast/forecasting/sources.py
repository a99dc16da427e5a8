"""Trajectories from files, whichever layout they are in."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory
from pathcast.forecasting.data_card import describe
from pathcast.forecasting.eth_ucy import FRAMES_PER_STEP, SCENES, read_test
from pathcast.forecasting.mot_truth import SEQUENCE_FILE, TRUTH_FILE, looks_like_truth, read_truth
from pathcast.forecasting.quality import AS_RECORDED, TrackQuality, choose
from pathcast.forecasting.track_folder import TrackSet, is_track_folder, read_track_folder
from pathcast.forecasting.track_rows import on_steps, read_lines
from pathcast.forecasting.trajnet import read_ndjson, read_rows, read_text
from pathcast.forecasting.windows import Windows, cut_windows

ETH_UCY, MOT, TRAJNET_TEXT, TRAJNET_NDJSON = "eth_ucy", "mot", "trajnet_text", "trajnet_ndjson"
_ALL_DATA = "all_data"
_EXPECTED = (
    "expected a folder with all_data/ (ETH/UCY), a folder of MOT sequences (seqinfo.ini and gt/gt.txt), or TrajNet "
    "files (*.txt of frame, id, x, y, or *.ndjson)"
)


def read_tracks(source: Path, *, quality: TrackQuality = AS_RECORDED, frame_rate: float | None = None) -> TrackSet:
    """The trajectories of a folder or file, chosen by `quality`; the layout is recognised by the content.

    - ETH/UCY: a folder with `all_data/`; its recordings in full.
    - MOT ground truth: a sequence's folder, or a folder of them.
    - TrajNet or S-GAN text, TrajNet++ ndjson: a file, or a folder with such files at any depth.
    - What `write_track_folder` wrote; its card goes on, with what is left out now added.

    `frame_rate` (Hz) is for text whose rows are not 0.4 s apart. A recording's name is its path below
    `source`. Raises InvalidInputError, naming file, row and expectation, on bad data, and when nothing is left.
    """
    if is_track_folder(source):
        return _choose_again(read_track_folder(source), quality)
    layout, recordings = _recognise(source, frame_rate)
    if frame_rate is not None and layout != TRAJNET_TEXT:
        raise InvalidInputError(f"{source}: the {layout} layout has its own frame rate; leave the given one out")
    found = list(chain.from_iterable(read(path, _name(source, path)) for path, read in recordings))
    kept, drops = choose(found, quality)
    selection = {**quality.as_mapping(), **({} if frame_rate is None else {"frame_rate_hz": frame_rate})}
    return TrackSet(kept, found, describe(kept, source=str(source), layout=layout, selection=selection, drops=drops))


def read_scenes(source: Path) -> dict[str, Windows]:
    """The windows of each scene to be judged on, by name: ETH/UCY's five scenes, or every recording.

    Recordings without a window are left out. Raises InvalidInputError as `read_tracks` does.
    """
    if (source / _ALL_DATA).is_dir():
        return {scene: read_test(source, scene) for scene in SCENES}
    tracks = read_tracks(source)
    chosen, everyone = _by_recording(tracks.chosen), _by_recording(tracks.everyone)
    return {name: cut_windows(found, everyone=everyone[name]) for name, found in chosen.items()}


def _by_recording(trajectories: list[Trajectory]) -> dict[str, list[Trajectory]]:
    recordings: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        recordings.setdefault(trajectory.camera_id, []).append(trajectory)
    return recordings


def _choose_again(tracks: TrackSet, quality: TrackQuality) -> TrackSet:
    kept, drops = choose(tracks.chosen, quality)
    if not drops and kept:
        return tracks
    card = tracks.card
    described = describe(
        kept,
        source=card.source,
        layout=card.layout,
        selection={**card.selection, **quality.as_mapping()},
        drops=(*card.drops, *drops),
        clock=card.clock,
    )
    return TrackSet(kept, tracks.everyone, described)


_Reader = Callable[[Path, str], list[Trajectory]]


def _recognise(source: Path, frame_rate: float | None) -> tuple[str, list[tuple[Path, _Reader]]]:
    """The layout, and each recording with what reads it."""
    if not source.exists():
        raise InvalidInputError(f"{source}: no such file or folder", hint=_EXPECTED)
    if (source / _ALL_DATA).is_dir():
        return ETH_UCY, [(path, _read_eth_ucy) for path in _files(source / _ALL_DATA, "*.txt")]
    sequences = [path.parent for path in sorted(source.rglob(SEQUENCE_FILE))] if source.is_dir() else []
    if sequences:
        return MOT, [(path, _read_truth) for path in sequences]
    if source.is_dir():
        ndjson, text = sorted(source.rglob("*.ndjson")), sorted(source.rglob("*.txt"))
        if ndjson:
            return TRAJNET_NDJSON, [(path, _read_ndjson) for path in ndjson]
        if not text:
            raise InvalidInputError(f"{source}: no trajectories in this folder: {_EXPECTED}")
    elif source.suffix == ".ndjson":
        return TRAJNET_NDJSON, [(source, _read_ndjson)]
    else:
        text = [source]
        if looks_like_truth(read_lines(source, expected="frame, id, x, y")[0][1]):
            sequence = source.parent.parent
            if source != sequence / TRUTH_FILE:
                raise InvalidInputError(
                    f"{source}: rows of MOT's ground truth, expected at gt/gt.txt in a folder with {SEQUENCE_FILE}",
                    hint="the frame rate and the frame's height are read from there",
                )
            return MOT, [(sequence, _read_truth)]
    return TRAJNET_TEXT, [(path, lambda path, name: read_text(path, name=name, frame_rate=frame_rate)) for path in text]


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise InvalidInputError(f"{folder}: expected files {pattern}, got none")
    return found


def _name(source: Path, path: Path) -> str:
    if path == source or not path.is_relative_to(source):
        return path.stem if path.is_file() else path.name
    below = path.relative_to(source)
    return (below.with_suffix("") if path.is_file() else below).as_posix()


def _read_eth_ucy(path: Path, name: str) -> list[Trajectory]:
    return on_steps(path, path.stem, read_rows(path), FRAMES_PER_STEP)


def _read_truth(path: Path, name: str) -> list[Trajectory]:
    return read_truth(path, name=name)


def _read_ndjson(path: Path, name: str) -> list[Trajectory]:
    return read_ndjson(path, name=name)
