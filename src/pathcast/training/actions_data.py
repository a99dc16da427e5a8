"""Clips of actions into a prepared folder: read, filtered, grouped by recording, split, with a data card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.recognition.choices import choose
from pathcast.recognition.clip_sources import SIMILARITY, background, one_source
from pathcast.recognition.clip_splits import PARTS, SplitRule, counts, split
from pathcast.recognition.clip_store import ClipEntry, write_clips
from pathcast.recognition.clips import ClipFile, ClipSet, find_clips, read_frames
from pathcast.recognition.frame_quality import QualityLimits, checked_clip
from pathcast.training.options import check_values

CANDIDATES = 3
"""So many times the wanted frames are looked at, so that bad ones can be replaced."""


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """How clips become samples: `frames` of `size` x `size` pixels each; a clip covers `window_s` seconds.

    `group_by`: "source" finds clips of one recording by their background, "name" takes files of one name in several
    classes for one actor (leave one out by `held_out`); where a data set names its groups, those are taken. `split`
    is the number of UCF101's lists.
    """

    frames: int = 20
    size: int = 112
    group_by: str = "source"
    similarity: float = SIMILARITY
    window_s: float = 2.0
    split: int = 1

    def __post_init__(self) -> None:
        if self.frames < 2 or self.size < 16 or self.group_by not in ("source", "name"):
            raise InvalidInputError(
                f"clips: expected 2 frames or more, of 16 pixels or more, group_by source or name, got {self}"
            )


def prepare_clips(source: Path, folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Write the prepared clips of a data set (`find_clips`) into `folder`; the data card.

    Options: those of `ClipOptions`, `SplitRule` and `QualityLimits`. Clips that the filter leaves out are counted in
    the card; one that cannot be read ends the preparation, InvalidInputError naming it.
    """
    kinds = (ClipOptions, SplitRule, QualityLimits)
    own = [{entry.name for entry in fields(kind)} for kind in kinds]
    defaults = {name: value for kind in kinds for name, value in asdict(kind()).items()}
    check_values("actions", options, defaults)
    given: dict[str, Any] = {**options, "held_out": _names(options.get("held_out", ()))}
    of_clips, of_split, of_quality = ({name: given[name] for name in names & set(given)} for names in own)
    clip, rule, limits = ClipOptions(**of_clips), SplitRule(**of_split), QualityLimits(**of_quality)
    found = find_clips(source, split=clip.split)
    reading = _Reading(clip, limits)
    backgrounds, kept = [], []
    for file in found.files:
        frames = reading.frames(file)
        if frames is not None:
            kept.append(file)
            backgrounds.append(background(frames))
    _require_classes(found, kept, reading.left_out)
    groups = _groups(kept, backgrounds, clip)
    parts = split([file.label for file in kept], groups, rule, [file.part for file in kept])
    entries = [
        ClipEntry(f"{file.label}/{file.path.name}", file.label, group, part)
        for file, group, part in zip(kept, groups, parts, strict=True)
    ]
    # Read a second time: the frames of a large set do not fit into memory, and the split comes between.
    write_clips(folder, entries, found.classes, reading.all(kept), (clip.frames, clip.size), clip.window_s)
    classes = counts([file.label for file in kept], parts)
    return {
        "layout": "clips",
        "source": source.name,
        "samples": {part: parts.count(part) for part in PARTS},
        "classes": classes,
        "choices": choose(classes["train"]).as_mapping(),
        "groups": len(set(groups)),
        "left_out": reading.left_out,
        "frames_dropped": dict(reading.dropped),
        "rules": {"clips": asdict(clip), "split": asdict(rule), "quality": asdict(limits)},
    }


class _Reading:
    def __init__(self, options: ClipOptions, limits: QualityLimits) -> None:
        self._options, self._limits = options, limits
        self.dropped: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}

    def frames(self, file: ClipFile) -> UInt8Array | None:
        """The clip's good frames; None, with the reason noted, where it has too few."""
        every = read_frames(file.path, CANDIDATES * self._options.frames, self._options.size)
        try:
            checked = checked_clip(str(file.path), every, self._options.frames, self._limits)
        except InvalidInputError as error:
            self.left_out[f"{file.label}/{file.path.name}"] = error.message
            return None
        self.dropped += checked.dropped
        return checked.frames

    def all(self, files: list[ClipFile]) -> Iterator[UInt8Array]:
        dropped = Counter(self.dropped)
        for file in files:
            frames = self.frames(file)
            if frames is None:
                raise InvalidInputError(f"{file.path}: changed while it was read")
            yield frames
        self.dropped = dropped


def _require_classes(found: ClipSet, kept: list[ClipFile], left_out: Mapping[str, str]) -> None:
    """Raise InvalidInputError where the filter left nothing of a class: it could never be recognised."""
    lost = [name for name in found.classes if name not in {file.label for file in kept}]
    if lost:
        reason = next(reason for name, reason in left_out.items() if name.startswith(f"{lost[0]}/"))
        raise InvalidInputError(
            f"class {', '.join(lost)}: each of its clips is left out, the first because of this: {reason}",
            hint="give other clips, change the limits of quality, or take the folder away",
        )


def _groups(files: list[ClipFile], backgrounds: list[Any], options: ClipOptions) -> list[str]:
    if files and all(file.group for file in files):
        return [str(file.group) for file in files]
    if options.group_by == "name":
        return [file.path.stem for file in files]
    if not files:
        return []
    first = one_source(np.stack(backgrounds), options.similarity)
    return [f"{files[number].label}/{files[number].path.stem}" for number in first]


def _names(value: Any) -> tuple[str, ...]:
    """A list of names, or as a command line gives it: one text with commas, a name of digits as a number."""
    return tuple(map(str, value)) if isinstance(value, list | tuple) else tuple(str(value).split(","))
