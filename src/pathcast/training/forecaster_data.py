"""The forecaster's prepared folder: windows to learn from, to choose the epoch by, and to judge on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pathcast.core.clock import SystemClock
from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.forecasting.data_card import DataCard, describe
from pathcast.forecasting.eth_ucy import RECORDINGS, SCENES, read_split, read_test, read_trajectories
from pathcast.forecasting.quality import AS_RECORDED, TrackQuality
from pathcast.forecasting.sources import ETH_UCY, read_tracks
from pathcast.forecasting.windows import Windows, cut_windows
from pathcast.storage import training_tracks as storage
from pathcast.storage.connection import connect
from pathcast.storage.training_tracks import TrackSelection
from pathcast.training.family import Selection
from pathcast.training.options import check_values

Part = Literal["train", "val", "test"]
CARD_PAGE = "data_card.md"
DEFAULTS: Mapping[str, Any] = {
    "held_out": None,
    "val_share": 0.15,
    "test_share": 0.15,
    "split_seed": 1,
    "frame_rate": None,
    "min_steps": AS_RECORDED.min_steps,
    "max_speed_per_s": AS_RECORDED.max_speed_per_s,
    "max_standing_share": AS_RECORDED.max_standing_share,
}
"""`held_out`: a scene of ETH/UCY. The shares are of tracks. The rest is what `read_tracks` asks of them."""


def prepare_windows(source: Path, folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write `folder`/train.npz, val.npz, test.npz and data_card.md; returns the card of what is learned from.

    ETH/UCY comes with its own split in time into training and validation. The scene `held_out` is its test; or,
    without one, half of the validation's tracks. Every other layout that `read_tracks` knows is split by track.
    """
    check_values("forecaster data", options, DEFAULTS)
    chosen = {**DEFAULTS, **options}
    published = (source / "all_data").is_dir()
    expected = {"held_out"} if chosen["held_out"] is not None else {"held_out", "split_seed"}
    if published and (unused := sorted(options.keys() - expected)):
        raise InvalidInputError(
            f"{source}: {', '.join(unused)}: not used for ETH/UCY's own split, {' and '.join(sorted(expected))} may be"
        )
    train, val, test, card = (_published_split if published else _split_by_track)(source, chosen)
    counts = {}
    for part, windows in (("train", train), ("val", val), ("test", test)):
        np.savez(folder / f"{part}.npz", units=np.array(windows.units), **windows.arrays())
        counts[f"windows_{part}"] = len(windows)
    used = ", ".join(f"{count} {name.removeprefix('windows_')}" for name, count in counts.items())
    (folder / CARD_PAGE).write_text(f"{card.to_markdown()}\nWindows: {used}.\n", encoding="utf-8")
    return {**card.to_dict(), "samples": {name.removeprefix("windows_"): count for name, count in counts.items()}}


def select_tracks(settings: PlatformSettings, folder: Path, wanted: Selection) -> Mapping[str, Any]:
    """Write the platform's own tracks into `folder`; `samples` of the card are windows.

    Options are those of `TrackSelection` (class_ids, units) and of `TrackQuality`.
    """
    options = dict(wanted.options)
    names = {field.name for field in fields(TrackQuality)}
    check_values("selection", options, {**asdict(TrackQuality()), "class_ids": (), "units": None})
    quality = TrackQuality(**{name: options.pop(name) for name in names & set(options)})
    class_ids = tuple(options.get("class_ids", ()))
    selection = TrackSelection.last_days(
        wanted.days,
        SystemClock().now(),
        cameras=wanted.cameras,
        class_ids=class_ids,
        units=options.get("units"),
        quality=quality,
    )
    with connect(settings.database_url, application_name="training") as connection:
        card = storage.select_tracks(connection, selection, folder)
    return {**card.to_dict(), "samples": card.windows}


def read_windows(folder: Path, part: Part) -> Windows:
    """What `prepare_windows` wrote; InvalidInputError names the file that is missing or damaged."""
    path = folder / f"{part}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            # A folder from before windows told of others has not all of them, and would teach that nobody is near.
            values = {field.name: arrays[field.name] for field in fields(Windows)}
            return Windows(**{**values, "units": str(values["units"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{path}: expected windows: {error}", hint="prepare the folder again from the raw data"
        ) from error


_Parts = tuple[Windows, Windows, Windows, DataCard]


def _published_split(source: Path, options: Mapping[str, Any]) -> _Parts:
    scene = options["held_out"]
    train, val = read_split(source, scene)
    if scene is None:
        val, test = val.split_by_track(0.5, int(options["split_seed"]))
    else:
        test = read_test(source, scene)
    learned = [name for name in RECORDINGS if scene is None or name not in SCENES[scene]]
    trajectories = [each for name in learned for each in read_trajectories(source / "train" / f"{name}_train.txt")]
    return train, val, test, describe(trajectories, source=str(source), layout=ETH_UCY, selection={"held_out": scene})


def _split_by_track(source: Path, options: Mapping[str, Any]) -> _Parts:
    if options["held_out"] is not None:
        raise InvalidInputError(f"{source}: held_out: expected the ETH/UCY layout, with all_data/, train/ and val/")
    shares = [float(options[name]) for name in ("val_share", "test_share")]
    if not (min(shares) > 0 and sum(shares) < 1):
        raise InvalidInputError(
            f"forecaster data: expected val_share and test_share above 0 and together below 1, got {shares}"
        )
    quality = TrackQuality(options["min_steps"], options["max_speed_per_s"], options["max_standing_share"])
    tracks = read_tracks(source, quality=quality, frame_rate=options["frame_rate"])
    seed = int(options["split_seed"])
    rest, test = cut_windows(tracks.chosen, everyone=tracks.everyone).split_by_track(shares[1], seed)
    train, val = rest.split_by_track(shares[0] / (1 - shares[1]), seed)
    return train, val, test, tracks.card
