"""Trajectories with their data card in a folder: a selection that was read once, to be learned from later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory
from pathcast.forecasting.data_card import DataCard

TRACKS_FILE = "trajectories.npz"
CARD_FILE, CARD_PAGE = "tracks.json", "tracks.md"


def write_track_folder(folder: Path, trajectories: Sequence[Trajectory], card: DataCard) -> None:
    """Write trajectories.npz (arrays over all trajectories end to end), tracks.json and tracks.md."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({each.camera_id for each in trajectories})
    np.savez_compressed(
        folder / TRACKS_FILE,
        names=np.array(names),
        name=np.array([names.index(each.camera_id) for each in trajectories], dtype=np.int64),
        track=np.array([each.track_id for each in trajectories], dtype=np.int64),
        class_id=np.array([each.class_id for each in trajectories], dtype=np.int64),
        first_step=np.array([each.first_step for each in trajectories], dtype=np.int64),
        length=np.array([len(each) for each in trajectories], dtype=np.int64),
        positions=np.concatenate([np.empty((0, 2)), *(each.positions for each in trajectories)]),
        units=np.array(card.units),
    )
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(card.to_dict())) + b"\n")
    (folder / CARD_PAGE).write_text(card.to_markdown(), encoding="utf-8")


def is_track_folder(folder: Path) -> bool:
    """Whether `write_track_folder` wrote it."""
    return (folder / TRACKS_FILE).is_file()


def read_track_folder(folder: Path) -> tuple[list[Trajectory], DataCard]:
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
        parts = np.split(stored["positions"], ends[:-1])
        columns = [stored[name].tolist() for name in ("name", "track", "class_id", "first_step")]
        names = stored["names"].tolist()
        rows = list(zip(*columns, parts, strict=True))
        trajectories = [
            Trajectory(names[name], track, class_id, first, points, str(stored["units"]))
            for name, track, class_id, first, points in rows
        ]
    except (OSError, ValueError, KeyError, IndexError, BadZipFile, msgspec.DecodeError) as error:
        raise InvalidInputError(f"{path}: expected stored trajectories: {error}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from error
    return trajectories, card
