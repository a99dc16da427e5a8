"""Labelled images from what people have: folders of any known layout, and videos that a teacher labels.

Recognised are COCO JSON (`*.json` with `annotations`; COCO's own layout, `annotations/` beside the images), YOLO text
(`images/` and `labels/`), Pascal VOC (`Annotations/`), MOT sequences (`seqinfo.ini` and `gt/`, with images or a video
beside it), masks of moving objects (`groundtruth/`, `input/`) and, with a teacher, plain videos.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import write_image
from pathcast.core.video import VIDEO_SUFFIXES, decode, read_claims
from pathcast.detection.classes import ClassOf, class_id_of
from pathcast.detection.coco_json import read_coco
from pathcast.detection.gathered import Names
from pathcast.detection.labelled import (
    UNREADABLE_SET,
    Fault,
    LabelledImage,
    LabelledImages,
    OnFault,
    other_classes,
    refuse,
    tell_other_classes,
)
from pathcast.detection.mot_classes import OTHER, object_classes
from pathcast.detection.motion_masks import read_motion_masks
from pathcast.detection.voc_xml import read_voc
from pathcast.detection.yolo_names import ASSUMED
from pathcast.detection.yolo_text import read_yolo
from pathcast.tracking.mot_format import SEQUENCE_FILE, TRUTH_FILE, read_boxes, read_sequence_info
from pathcast.tracking.mot_sequences import pictures_of
from pathcast.training.labelling import LabellingSettings, RecordedFrame, Teacher, label

JPEG_QUALITY = 92
_USUAL_RATE = 25.0
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""A recording whose time nobody knows begins here; the order and the distances of its frames are right."""


def read_recordings(
    source: Path,
    work: Path,
    *,
    teacher: Teacher | None = None,
    labelling: LabellingSettings | None = None,
    without: Sequence[str] = (),
    class_of: ClassOf = class_id_of,
    note: Callable[[str], None] = lambda text: None,
    go_on: bool = False,
) -> list[LabelledImages]:
    """All sets at or below `source`; frames of videos are written below `work`.

    Files and folders named in `without` (a video without its suffix) are left out, and so are videos without labels
    where there is no teacher. `class_of` says which class a label's name is. `note` is told what is left out for lack
    of something, and what is assumed or not known of a set. Recordings of one name are numbered.
    Raises InvalidInputError where nothing is recognised, and at the first fault; with `go_on` the sets hold the
    faults, and a set that cannot be read at all, or has boxes of other classes alone, is there without images.
    """
    rules = labelling or LabellingSettings(every=5)
    walk = _Walk(work, teacher, rules, frozenset(without), class_of, note, go_on, Names())
    found = list(walk.sets(source))
    if not found:
        raise InvalidInputError(
            f"{source}: expected COCO JSON, YOLO text, Pascal VOC, MOT sequences, masks or videos, found none",
            hint="videos without labels need a teacher",
        )
    return found


@dataclass(frozen=True, slots=True)
class _Walk:
    """One call of `read_recordings`; `names` are those of the recordings whose frames it wrote."""

    work: Path
    teacher: Teacher | None
    labelling: LabellingSettings
    without: frozenset[str]
    class_of: ClassOf
    note: Callable[[str], None]
    go_on: bool
    names: Names

    def sets(self, source: Path) -> Iterator[LabelledImages]:
        if {source.name, source.stem} & self.without:
            return
        if source.is_file():
            if source.suffix == ".json":
                yield self._read(source, lambda fault: read_coco(source, fault=fault, class_of=self.class_of))
            elif source.suffix.lower() in VIDEO_SUFFIXES:
                if (teacher := self.teacher) is None:
                    self.note(f"{source}: left out, a video without labels needs a teacher")
                else:
                    yield self._read(source, lambda fault: self._label(source, teacher))
            return
        if not source.is_dir():
            raise InvalidInputError(f"{source}: no such file or folder")
        described = (source / SEQUENCE_FILE).exists()
        if described and self._pictures(source) is None:
            self.note(f"{source}: left out, no images and no video of it")
            return
        if described or (source / TRUTH_FILE).exists():
            yield self._read(
                source, lambda fault: read_mot(source, self.work, self.teacher, self.names, class_of=self.class_of)
            )
            return
        readers = (
            ("labels", partial(read_yolo, class_of=self.class_of)),
            ("Annotations", partial(read_voc, class_of=self.class_of)),
            ("groundtruth", read_motion_masks),
        )
        reader = next((read for mark, read in readers if (source / mark).exists()), None)
        if reader is not None:
            yield self._read(source, lambda fault: reader(source, fault))
            return
        if coco := _coco_files(source / "annotations"):
            for path in coco:
                yield from self.sets(path)
            return
        sequences = [path.parent for path in source.glob(f"*/{SEQUENCE_FILE}")]
        of_sequences = {self._pictures(path) for path in sequences}
        names = {path.name for path in sequences}
        for path in sorted(source.iterdir()):
            # A video beside a sequence's labels is that sequence's; it would be learned twice.
            is_video = path.suffix.lower() in VIDEO_SUFFIXES
            if is_video and (len(sequences) == 1 or path in of_sequences or path.stem in names):
                continue
            if is_video or path.is_dir() or _is_coco(path):
                yield from self.sets(path)

    def _read(self, source: Path, read: Callable[[OnFault], LabelledImages]) -> LabelledImages:
        faults: list[Fault] = []
        try:
            labelled = read(faults.append if self.go_on else refuse)
            if labelled.about.get("class_names") == ASSUMED:
                self.note(f"{source}: class numbers are {ASSUMED}")
            tell_other_classes(source, labelled.about, sum(map(len, labelled)), self.note)
        except InvalidInputError as error:
            if not self.go_on:
                raise
            labelled = LabelledImages(source)
            faults.append(Fault(str(source), UNREADABLE_SET, error.message, error.hint))
        return replace(labelled, faults=tuple(faults))

    def _pictures(self, sequence: Path) -> Path | None:
        try:
            return pictures_of(sequence, read_sequence_info(sequence))
        except InvalidInputError:
            return sequence  # what is wrong with it is told where it is read

    def _label(self, video: Path, teacher: Teacher) -> LabelledImages:
        return label_video(video, self.work, teacher, self.labelling, self.names.own(video.stem))


def read_mot(
    directory: Path,
    work: Path,
    teacher: Teacher | None = None,
    names: Names | None = None,
    *,
    class_of: ClassOf = class_id_of,
) -> LabelledImages:
    """A MOT sequence's objects with their identities; a video's frames are written below `work`.

    Boxes of confidence 0 are ignored ones. Times follow the sequence's frame rate. MOT labels people, or the classes of
    `gt/labels.txt`: a teacher adds the objects of the others, or they would be learned as background. The camera has
    the sequence's name, or another one of `names` where that is taken.
    """
    info = read_sequence_info(directory)
    everything = read_boxes(directory / TRUTH_FILE, length=info.length, identified=True)
    classes = object_classes(directory / "gt", everything.classes, class_of)
    known = classes.class_ids != OTHER
    boxes, class_ids = everything.select(known), classes.class_ids[known]
    ignored = classes.like_people[known] | (boxes.confidences == 0)
    pictures = pictures_of(directory, info)
    if pictures is None:
        raise InvalidInputError(f"{directory}: expected {info.image_folder}/ or a video here or beside it, found none")
    camera = (names or Names()).own(info.name)
    numbers = range(1, info.length + 1)
    if pictures.is_dir():
        root, files = directory, [info.image(number) for number in numbers]
    else:
        root, files = work, [f"{camera}/{number:06d}.jpg" for number in numbers]
        for name, (_, pixels) in zip(files, read_video(pictures), strict=False):
            write_jpeg(work / name, pixels)
        missing = next((name for name in files if not (work / name).is_file()), None)
        if missing is not None:
            raise InvalidInputError(f"{pictures}: expected {info.length} frames, it ends before {missing}")
    images = [
        LabelledImage(
            name,
            info.width,
            info.height,
            boxes.xyxy[rows],
            class_ids[rows],
            ignored=ignored[rows],
            track_ids=boxes.ids[rows],
            camera=camera,
            captured_at=_EPOCH + timedelta(seconds=number / info.frame_rate),
        )
        for number, (name, rows) in enumerate(zip(files, boxes.by_frame(info.length), strict=True))
    ]
    about = {**({"class_names": classes.source} if classes.source else {}), **other_classes(classes.others)}
    labelled = LabelledImages(root, tuple(images), about=about)
    return labelled if teacher is None else _with_other_classes(labelled, teacher, classes.labelled)


def label_video(path: Path, work: Path, teacher: Teacher, labelling: LabellingSettings, camera: str) -> LabelledImages:
    """A video's frames, labelled by the teacher; every `labelling.every`-th is written below `work`/`camera`."""

    def frames() -> Iterator[RecordedFrame]:
        for number, (captured_at, pixels) in enumerate(read_video(path)):
            name = f"{camera}/{number + 1:06d}.jpg"
            if number % labelling.every == 0:
                write_jpeg(work / name, pixels)
            yield RecordedFrame(name, captured_at, pixels)

    return LabelledImages(work, tuple(label(frames(), teacher, camera, labelling)))


def read_video(path: Path) -> Iterator[tuple[datetime, UInt8Array]]:
    """The frames (h, w, 3) RGB with the times that the file's frame rate gives."""
    claimed, _ = read_claims(path)
    number = -1
    for number, pixels in enumerate(decode(path)):
        yield _EPOCH + timedelta(seconds=number / (claimed or _USUAL_RATE)), pixels
    if number < 0:
        raise InvalidInputError(f"video {path}: not one frame can be decoded")


def write_jpeg(path: Path, pixels: UInt8Array) -> None:
    """Write RGB pixels as a JPEG of good quality; PathcastError where it cannot be written."""
    write_image(path, pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _with_other_classes(own: LabelledImages, teacher: Teacher, known: Collection[int]) -> LabelledImages:
    frames = (RecordedFrame(image.name, image.captured_at or _EPOCH, own.read(image)) for image in own)
    merged = []
    for image, seen in zip(own, label(frames, teacher, own.images[0].camera), strict=True):
        others = seen.chosen(~np.isin(seen.class_ids, list(known)))
        columns = ("xyxy", "class_ids", "ignored", "scores")
        both = {name: np.concatenate([getattr(image, name), getattr(others, name)]) for name in columns}
        # The tracker's numbers would clash with the sequence's.
        merged.append(image.changed(**both, track_ids=[*image.track_ids, *[-1] * len(others)]))
    return replace(own, images=tuple(merged))


def _is_coco(path: Path) -> bool:
    """Whether a file found on the way is labels; other JSON lies about in many folders."""
    return path.suffix == ".json" and b'"annotations"' in path.read_bytes()


def _coco_files(folder: Path) -> list[Path]:
    """The boxes of COCO's own layout, which has captions and key points of the same images beside them."""
    found = [path for path in sorted(folder.glob("*.json")) if _is_coco(path)]
    return [path for path in found if path.name.startswith("instances_")] or found
