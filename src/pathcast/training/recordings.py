"""Labelled images from what people have: folders of any known layout, and videos that a teacher labels.

Recognised are COCO JSON (`*.json` with `annotations`), YOLO text (`images/` and `labels/`), Pascal VOC
(`Annotations/`), MOT sequences (`seqinfo.ini` and `gt/`, with images or a video beside it), masks of moving objects
(`groundtruth/`, `input/`) and, with a teacher, plain videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import PERSON
from pathcast.detection.coco_json import read_coco
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.motion_masks import read_motion_masks
from pathcast.detection.voc_xml import read_voc
from pathcast.detection.yolo_text import read_yolo
from pathcast.tracking.mot_format import read_boxes, read_sequence_info
from pathcast.training.labelling import LabellingSettings, RecordedFrame, Teacher, label

VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm")
JPEG_QUALITY = 92
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""A recording whose time nobody knows begins here; the order and the distances of its frames are right."""


def read_recordings(
    source: Path,
    work: Path,
    *,
    teacher: Teacher | None = None,
    labelling: LabellingSettings | None = None,
    without: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> list[LabelledImages]:
    """All sets at or below `source`; frames of videos are written below `work`.

    Files and folders named in `without` (a video without its suffix) are left out. `note` is told of each set before
    it is read. Videos without labels are left out where there is no teacher.
    Raises InvalidInputError where nothing is recognised.
    """
    found = list(_walk(source, work, teacher, labelling or LabellingSettings(every=5), without, note))
    if not found:
        raise InvalidInputError(
            f"{source}: expected COCO JSON, YOLO text, Pascal VOC, MOT sequences, masks or videos, found none",
            hint="videos without labels need a teacher",
        )
    return found


def _walk(
    source: Path,
    work: Path,
    teacher: Teacher | None,
    labelling: LabellingSettings,
    without: Sequence[str],
    note: Callable[[str], None],
) -> Iterator[LabelledImages]:
    if {source.name, source.stem} & set(without):
        return
    if source.is_file():
        if source.suffix == ".json":
            note(str(source))
            yield read_coco(source)
        elif source.suffix.lower() in VIDEO_SUFFIXES and teacher is not None:
            note(str(source))
            yield label_video(source, work, teacher, labelling)
        return
    if not source.is_dir():
        raise InvalidInputError(f"{source}: no such file or folder")
    readers: list[tuple[str, Callable[[], LabelledImages]]] = [
        ("labels", lambda: read_yolo(source)),
        ("Annotations", lambda: read_voc(source)),
        ("groundtruth", lambda: read_motion_masks(source)),
        ("seqinfo.ini", lambda: read_mot(source, work, teacher)),
    ]
    for mark, read in readers:
        if (source / mark).exists():
            if mark == "seqinfo.ini" and _pictures_of(source) is None:
                note(f"{source}: left out, no images and no video of it")
                return
            note(str(source))
            yield read()
            return
    sequences = [path.parent for path in source.glob("*/seqinfo.ini")]
    for path in sorted(source.iterdir()):
        # A video beside a sequence's labels is that sequence's.
        if path.suffix.lower() in VIDEO_SUFFIXES and len(sequences) == 1:
            continue
        if path.is_dir() or _is_coco(path) or path.suffix.lower() in VIDEO_SUFFIXES:
            yield from _walk(path, work, teacher, labelling, without, note)


def read_mot(directory: Path, work: Path, teacher: Teacher | None = None) -> LabelledImages:
    """A MOT sequence's people with their identities; a video's frames are written below `work`.

    Boxes of confidence 0 are ignored ones. Times follow the sequence's frame rate. MOT labels people alone: a
    teacher adds the objects of other classes, or they would be learned as background.
    """
    info = read_sequence_info(directory)
    boxes = read_boxes(directory / "gt" / "gt.txt", length=info.length, identified=True)
    pictures = _pictures_of(directory)
    if pictures is None:
        raise InvalidInputError(f"{directory}: expected img1/ or a video here or beside it, found none")
    if pictures.is_dir():
        root = directory
        names = [f"{pictures.name}/{number:06d}.jpg" for number in range(1, info.length + 1)]
    else:
        root = work
        names = [f"{info.name}/{number:06d}.jpg" for number in range(1, info.length + 1)]
        for name, (_, pixels) in zip(names, read_video(pictures), strict=False):
            write_jpeg(work / name, pixels)
        missing = next((name for name in names if not (work / name).is_file()), None)
        if missing is not None:
            raise InvalidInputError(f"{pictures}: expected {info.length} frames, it ends before {missing}")
    images = [
        LabelledImage(
            name,
            info.width,
            info.height,
            boxes.xyxy[rows],
            np.full(rows.stop - rows.start, PERSON),
            ignored=boxes.confidences[rows] == 0,
            track_ids=boxes.ids[rows],
            camera=info.name,
            captured_at=_EPOCH + timedelta(seconds=number / info.frame_rate),
        )
        for number, (name, rows) in enumerate(zip(names, boxes.by_frame(info.length), strict=True))
    ]
    people = LabelledImages(root, tuple(images))
    return people if teacher is None else _with_other_classes(people, teacher)


def label_video(path: Path, work: Path, teacher: Teacher, labelling: LabellingSettings) -> LabelledImages:
    """A video's frames, labelled by the teacher; every `labelling.every`-th is written below `work`."""

    def frames() -> Iterator[RecordedFrame]:
        for number, (captured_at, pixels) in enumerate(read_video(path)):
            name = f"{path.stem}/{number + 1:06d}.jpg"
            if number % labelling.every == 0:
                write_jpeg(work / name, pixels)
            yield RecordedFrame(name, captured_at, pixels)

    return LabelledImages(work, tuple(label(frames(), teacher, path.stem, labelling)))


def read_video(path: Path) -> Iterator[tuple[datetime, UInt8Array]]:
    """The frames (h, w, 3) RGB with the times that the file's frame rate gives."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
        number = 0
        while True:
            more, frame = capture.read()
            if not more:
                break
            pixels = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
            yield _EPOCH + timedelta(seconds=number / rate), pixels
            number += 1
        if number == 0:
            raise InvalidInputError(f"{path}: not a readable video")
    finally:
        capture.release()


def write_jpeg(path: Path, pixels: UInt8Array) -> None:
    """Write RGB pixels as a JPEG of good quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _with_other_classes(people: LabelledImages, teacher: Teacher) -> LabelledImages:
    frames = (RecordedFrame(image.name, image.captured_at or _EPOCH, people.read(image)) for image in people)
    labelled = label(frames, teacher, people.images[0].camera)
    merged = []
    for image, seen in zip(people, labelled, strict=True):
        others = seen.chosen(seen.class_ids != PERSON)
        columns = ("xyxy", "class_ids", "ignored", "scores")
        both = {name: np.concatenate([getattr(image, name), getattr(others, name)]) for name in columns}
        # The tracker's numbers would clash with the sequence's.
        merged.append(image.changed(**both, track_ids=[*image.track_ids, *[-1] * len(others)]))
    return LabelledImages(people.root, tuple(merged))


def _is_coco(path: Path) -> bool:
    """Whether a file found on the way is labels; other JSON lies about in many folders."""
    return path.suffix == ".json" and b'"annotations"' in path.read_bytes()


def _pictures_of(sequence: Path) -> Path | None:
    """The folder or the video with the sequence's frames; a video beside it counts where it is the only one."""
    if (sequence / "img1").is_dir():
        return sequence / "img1"
    for place in (sequence, sequence.parent):
        videos = [path for path in sorted(place.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
        if len(videos) == 1:
            return videos[0]
    return None
