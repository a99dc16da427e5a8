"""A camera's archived frames, labelled by a model of the registry."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.detection.coco_json import write_coco
from pathcast.detection.labelled import LabelledImages
from pathcast.registry.publishing import ModelLifecycle
from pathcast.storage.archive import FrameArchive
from pathcast.storage.connection import connect
from pathcast.storage.reads import read_frame_rows
from pathcast.training.archived_frames import ArchiveSpan, read_frames
from pathcast.training.labelling import LabellingSettings, label
from pathcast.training.teachers import find_teacher


def label_archive(
    settings: PlatformSettings,
    camera: str,
    hours: float,
    teacher: str,
    output: Path,
    rules: LabellingSettings,
    now: datetime | None = None,
) -> dict[str, int]:
    """Label the last `hours` of a camera as COCO JSON in `output`; the number of images and of boxes by class.

    `teacher` is a detector of the registry, whose champion labels. Raises InvalidInputError where it has none, and
    where the camera has no frames.
    """
    span = ArchiveSpan.last_days((camera,), hours / 24, now or datetime.now(UTC))
    with connect(settings.database_url, application_name="label") as connection:
        span.find(connection)
        rows = read_frame_rows(connection, camera, span.since, span.until)
    with TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.onnx"
        version = ModelLifecycle(settings).fetch_champion(teacher, file)
        if version is None:
            raise InvalidInputError(
                f"teacher {teacher}: no champion in the registry", hint="pathcast models import FILE --family detector"
            )
        frames = read_frames(FrameArchive.connect(settings), rows, output, "images", rules.every)
        images = tuple(label(frames, find_teacher(file), camera, rules))
    about = {"teacher": f"{teacher} {version}", "labelling": asdict(rules)}
    found = LabelledImages(output, images, about=about)
    write_coco(output / "labels.json", found)
    return {"images": len(found), **found.boxes_by_class()}
