"""Labelled sets written in another format, with the images where that format wants them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pathcast.core.errors import InvalidInputError
from pathcast.detection.coco_json import write_coco
from pathcast.detection.gathered import Names, gathered
from pathcast.detection.labelled import LabelledImages, with_own_identities
from pathcast.detection.voc_xml import write_voc
from pathcast.detection.yolo_text import write_yolo
from pathcast.training.mot_labels import FRAME, write_mot
from pathcast.training.recordings import write_jpeg

Writer = Callable[[Path, LabelledImages], Mapping[str, int]]


def convert(sets: Sequence[LabelledImages], to: str, output: Path) -> tuple[int, Mapping[str, int]]:
    """Write all sets as "coco", "yolo", "voc" or "mot" below `output`; the images, and boxes left out by reason.

    The first three become one set; of several, each has a folder of its own for its images. MOT sequences are one
    camera each, in folders of their own where there are several. Raises InvalidInputError where an image is missing,
    before anything is written, where two would share a label file, or a camera's are of several sizes.
    """
    for labelled in sets:
        for image in labelled:
            if not (labelled.root / image.name).is_file():
                raise InvalidInputError(
                    f"{labelled.root / image.name}: labelled, and no such image",
                    hint="`pathcast data check` lists all that are missing",
                )
    if to == "mot":
        return _as_sequences(sets, output)
    place, write = _WRITERS[to]
    several = len(sets) > 1
    parts = gathered(with_own_identities(sets) if several else sets, output, place, own_folders=several)
    about = {"sets": [dict(part.about) for part in parts]} if several else parts[0].about
    everything = LabelledImages(output, tuple(image for part in parts for image in part), about=about)
    return len(everything), write(output, everything)


def _as_sequences(sets: Sequence[LabelledImages], output: Path) -> tuple[int, Mapping[str, int]]:
    sequences, names, left_out = list(_by_camera(sets)), Names(), Counter[str]()
    for name, labelled in sequences:
        target = output / names.own(name) if len(sequences) > 1 else output
        left_out.update(write_mot(target, labelled))
        for number, image in enumerate(labelled, start=1):
            path = target / FRAME.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            if Path(image.name).suffix.lower() in (".jpg", ".jpeg"):
                shutil.copyfile(labelled.root / image.name, path)
            else:
                write_jpeg(path, labelled.read(image))
    return sum(len(labelled) for _, labelled in sequences), left_out


def _by_camera(sets: Sequence[LabelledImages]) -> Iterator[tuple[str, LabelledImages]]:
    """Each camera of each set, with its name."""
    for labelled in sets:
        for camera in dict.fromkeys(image.camera for image in labelled):
            name = camera or labelled.root.absolute().name
            yield name, labelled.where(lambda image, camera=camera: image.camera == camera)  # type: ignore[misc]


def _write_coco(output: Path, labelled: LabelledImages) -> Mapping[str, int]:
    write_coco(output / "labels.json", labelled)
    return {}


def _write_voc(output: Path, labelled: LabelledImages) -> Mapping[str, int]:
    write_voc(output, labelled)
    return {}


_WRITERS: Mapping[str, tuple[str, Writer]] = {
    "coco": ("images", _write_coco),
    "yolo": ("images", write_yolo),
    "voc": ("JPEGImages", _write_voc),
}
