"""Who takes part in `pathcast evaluate tracker`: our tracker with and without its options, and the peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from pathcast.core import Detections, FrameTracks, PathcastError
from pathcast.core.arrays import UInt8Array
from pathcast.tracking.peers import Peer, peers, ultralytics_peers
from pathcast.tracking.settings import TrackerSettings
from pathcast.tracking.tracker import Tracker

OURS = "pathcast"

Look = Callable[[UInt8Array, Detections], Detections]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A fresh tracker; only `update` is timed. One with `looks` is given the frames' images, others None."""

    convert: Callable[[Detections, UInt8Array | None], Any]
    update: Callable[[Any, datetime, UInt8Array | None], Any]
    tracks: Callable[[Any], FrameTracks]
    looks: bool = False


Makers = dict[str, Callable[[], Contestant]]


def ours(settings: TrackerSettings, appearance: Path | None, embeds: bool) -> Makers:
    """The tracker by itself, and with each of the options that were asked for, and with all.

    Camera motion is asked for where `settings` have it. `appearance` is a re-identification model; `embeds`: the
    detections bear embeddings of their detector.
    """
    looks: dict[str, tuple[Look, bool]] = {}
    if embeds:
        looks["embeddings"] = (lambda _, detections: detections, False)
    if appearance is not None:
        from pathcast.serving.appearance_model import FileAppearance, embedded

        model, least = FileAppearance(appearance), settings.high_score
        looks["appearance"] = (partial(embedded, model, least_score=least), True)
    still = replace(settings, camera_motion=None)
    makers: Makers = {OURS: partial(_tracker, replace(still, appearance=None), None, images=False)}
    for name, (look, images) in looks.items():
        makers[f"{OURS} + {name}"] = partial(_tracker, still, look, images=images)
    if settings.camera_motion is not None:
        for name, (look, _) in looks.items():
            makers[f"{OURS} + {name} + camera motion"] = partial(_tracker, settings, look, images=True)
        makers[f"{OURS} + camera motion"] = partial(_tracker, settings, None, images=True)
    return makers


def installed_peers(wanted: bool, console: Console) -> Makers:
    """The peers that are installed; says which are not."""
    makers: Makers = {}
    for find in (peers, ultralytics_peers) if wanted else ():
        try:
            found: Mapping[str, Callable[[], Peer]] = find()
        except PathcastError as error:
            console.print(f"without {error}", style="yellow", markup=False, highlight=False)
            continue
        makers |= {name: partial(_peer, make) for name, make in found.items()}
    return makers


def _tracker(settings: TrackerSettings, look: Look | None, *, images: bool) -> Contestant:
    def convert(detections: Detections, image: UInt8Array | None) -> Detections:
        if look is None:
            return Detections(detections.xyxy, detections.scores, detections.class_ids)
        return look(image, detections)  # type: ignore[arg-type]

    return Contestant(convert, Tracker(settings).update, lambda tracks: tracks, looks=images)


def _peer(make: Callable[[], Peer]) -> Contestant:
    peer = make()
    return Contestant(
        lambda detections, _: peer.convert(detections), lambda detections, *_: peer.update(detections), peer.tracks
    )
