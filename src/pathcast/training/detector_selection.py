"""Frames of the platform's own cameras as the detector's raw data: by camera and time, labelled by a teacher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pathcast.core.clock import SystemClock
from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.detection.coco_json import read_coco, write_coco
from pathcast.detection.corrections import corrected, known
from pathcast.detection.labelled import LabelledImages, said_of_other_classes
from pathcast.registry.publishing import ModelLifecycle
from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import connect
from pathcast.training.archived_frames import ArchiveSpan, choose_rows, read_frames
from pathcast.training.detector_data import SELECTION
from pathcast.training.family import Selection
from pathcast.training.labelling import LabellingSettings, label
from pathcast.training.options import check_values
from pathcast.training.raw_files import local_file
from pathcast.training.teachers import find_teacher, teacher_name

CHAMPION = "champion"
_MODEL = "detector"


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """`teacher` is a detector's file (`find_teacher`), or the champion that serves.

    Of each camera it looks at `most` frames. `corrections` is COCO JSON that came back from people: the images that
    it names have its boxes instead of the teacher's. Both are paths or s3://BUCKET/KEY.
    """

    teacher: str = CHAMPION
    most: int = 2000
    corrections: str | None = None

    def __post_init__(self) -> None:
        if self.most < 1:
            raise InvalidInputError(f"selection: expected most of 1 or more frames, got {self.most}")


def select_frames(settings: PlatformSettings, folder: Path, wanted: Selection) -> Mapping[str, Any]:
    """Write each camera's frames and labels into `folder`/CAMERA; `samples` of the card are images.

    Options are those of `FrameSelection` and of `LabellingSettings`. Raises InvalidInputError where a camera has no
    frames in the time, or the champion is to teach and there is none.
    """
    choice, labelling = _options(wanted.options)
    span = ArchiveSpan.last_days(wanted.cameras, wanted.days, SystemClock().now())
    cameras: dict[str, Any] = {}
    with TemporaryDirectory() as scratch, connect(settings.database_url, application_name="selection") as connection:
        returned = _corrections(settings, choice.corrections, Path(scratch))
        found = span.find(connection)
        file, teacher = _teacher(settings, choice.teacher, Path(scratch))
        looks, archive = find_teacher(file), FrameArchive.connect(settings)
        for each in found:
            root = folder / each.camera_id
            rows = choose_rows(connection, each, choice.most)
            labels = label(
                read_frames(archive, rows, root, "frames", labelling.every), looks, each.camera_id, labelling
            )
            about = {"teacher": teacher, "labelling": asdict(labelling)}
            labelled, counts = LabelledImages(root, tuple(labels), about=about), None
            if returned is not None:
                labelled, counts = corrected(labelled, known(labelled, returned))
            write_coco(root / "labels.json", labelled)
            cameras[each.camera_id] = {
                "archived": each.frames,
                "images": len(labelled),
                "boxes": labelled.boxes_by_class(),
                "from": each.first.isoformat(),
                "to": each.last.isoformat(),
                "corrected": counts,
            }
    if returned is not None:
        used = sum(each["corrected"]["images"] for each in cameras.values())
        print(f"{choice.corrections}: corrections of {used} of {len(returned)} images are used")
        if others := said_of_other_classes(returned.about):
            print(f"{choice.corrections}: left out, {others}")
        if not used:
            raise InvalidInputError(
                f"{choice.corrections}: expected images that are selected, got {len(returned)} that are not",
                hint="select the same cameras, days and frames (every, most) as those that were corrected",
            )
    card = {
        "source": "archive",
        "since": span.since.isoformat(),
        "until": span.until.isoformat(),
        "cameras": cameras,
        "teacher": teacher,
        "labelling": asdict(labelling),
        "samples": sum(each["images"] for each in cameras.values()),
    }
    (folder / SELECTION).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def _options(given: Mapping[str, Any]) -> tuple[FrameSelection, LabellingSettings]:
    parts = ({field.name for field in fields(kind)} for kind in (FrameSelection, LabellingSettings))
    own, labels = ({name: value for name, value in given.items() if name in names} for names in parts)
    check_values("selection", given, {**asdict(FrameSelection()), **asdict(LabellingSettings())})
    return FrameSelection(**own), LabellingSettings(**{"every": 5, **labels})


def _corrections(settings: PlatformSettings, name: str | None, scratch: Path) -> LabelledImages | None:
    return None if name is None else read_coco(local_file(settings, name, scratch / "corrections", "corrections"))


def _teacher(settings: PlatformSettings, name: str, scratch: Path) -> tuple[Path, str]:
    """The teacher's file, and what the card calls it."""
    if name != CHAMPION:
        return local_file(settings, name, scratch / "teacher", "teacher"), teacher_name(Path(name))
    version = ModelLifecycle(settings).fetch_champion(_MODEL, scratch / "champion.onnx")
    if version is None:
        raise InvalidInputError(
            f"selection: expected a champion of {_MODEL} to label with, there is none",
            hint='pathcast models publish detector, or name a file: --set selection=\'{"teacher": "FILE"}\'',
        )
    return scratch / "champion.onnx", f"{_MODEL} {version}"
