"""Trajectories with their data card in a folder: a selection that was read once, to be learned from later."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import msgspec
import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory, places_of
from pathcast.forecasting.data_card import DataCard

TRACKS_FILE = "trajectories.npz"
CARD_FILE, CARD_PAGE = "tracks.json", "tracks.md"


class TrackSet(NamedTuple):
    """Trajectories `chosen` to learn from or to be judged on, with their `card`; `everyone` is who was there.

    The chosen are some of these, or parts of them; the others are nobody's lesson, but still neighbours.
    """

    chosen: list[Trajectory]
    everyone: list[Trajectory]
    card: DataCard


def write_track_folder(folder: Path, tracks: TrackSet) -> None:
    """Write trajectories.npz (arrays over everyone's trajectories end to end), tracks.json and tracks.md."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen, everyone, card = tracks
    names = sorted({each.camera_id for each in everyone})
    np.savez_compressed(
        folder / TRACKS_FILE,
        names=np.array(names),
        name=np.array([names.index(each.camera_id) for each in everyone], dtype=np.int64),
        track=np.array([each.track_id for each in everyone], dtype=np.int64),
        class_id=np.array([each.class_id for each in everyone], dtype=np.int64),
        first_step=np.array([each.first_step for each in everyone], dtype=np.int64),
        length=np.array([len(each) for each in everyone], dtype=np.int64),
        positions=np.concatenate([np.empty((0, 2)), *(each.positions for each in everyone)]),
        seen=np.concatenate([np.empty(0, np.bool_), *(each.seen for each in everyone)]),
        units=np.array([each.units for each in everyone], dtype=np.str_),
        chosen_from=np.array(places_of(chosen, everyone), dtype=np.int64),
        chosen_length=np.array([len(each) for each in chosen], dtype=np.int64),
    )
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card.to_dict())) + b"\n")
    (folder / CARD_PAGE).write_text(card.to_markdown(), encoding="utf-8")


def is_track_folder(folder: Path) -> bool:
    """Whether `write_track_folder` wrote it."""
    return (folder / TRACKS_FILE).is_file()


def read_track_folder(folder: Path) -> TrackSet:
    """Undo `write_track_folder`; InvalidInputError names the file that is missing or damaged."""
    path = folder / CARD_FILE
    try:
        card = DataCard.from_dict(msgspec.json.decode(path.read_bytes()))
        path = folder / TRACKS_FILE
        with np.load(path, allow_pickle=False) as arrays:
            stored = dict(arrays)
        ends = np.cumsum(stored["length"])
        if len(stored["positions"]) != (ends[-1] if len(ends) else 0):
            raise ValueError(f"expected {ends[-1] if len(ends) else 0} positions, got {len(stored['positions'])}")
        parts = [np.split(stored[name], ends[:-1]) for name in ("positions", "seen")]
        columns = [stored[name].tolist() for name in ("name", "track", "class_id", "first_step", "units")]
        names = stored["names"].tolist()
        everyone = [
            Trajectory(names[name], track, class_id, first, points, units, seen)
            for name, track, class_id, first, units, points, seen in zip(*columns, *parts, strict=True)
        ]
        begins, stops = stored["chosen_from"], stored["chosen_from"] + stored["chosen_length"]
        owners = np.searchsorted(ends, begins, side="right")
        if (stops > ends[owners]).any():
            raise ValueError("expected each of the chosen within one trajectory")
        offsets = (ends - stored["length"])[owners]
        chosen = [
            everyone[owner].part(begin, stop)
            for owner, begin, stop in np.stack([owners, begins - offsets, stops - offsets], axis=1).tolist()
        ]
    except (OSError, ValueError, KeyError, IndexError, BadZipFile, msgspec.DecodeError) as error:
        raise InvalidInputError(
            f"{path}: expected stored trajectories: {error}", hint="select the tracks again"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from error
    return TrackSet(chosen, everyone, card)
