"""Labelled images as a MOT sequence: people alone, by frame number and identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, PERSON
from pathcast.detection.labelled import LabelledImages
from pathcast.tracking.mot_format import TRUTH_FILE, MotBoxes, SequenceInfo, write_boxes, write_sequence_info

FRAME = "img1/{:06d}.jpg"
"""The file of a frame, by its number, below the sequence's folder."""


def write_mot(directory: Path, labelled: LabelledImages) -> Mapping[str, int]:
    """Write `seqinfo.ini` and `gt/gt.txt`; the images are the frames 1, 2, …, in the order of the set.

    Ignored boxes get confidence 0. Boxes without an identity get numbers of their own; where identities count from 0,
    as CVAT's do, all move up by one, since MOT's count from 1. The frame rate follows from the times; without them it
    is 10. Returns how many boxes of other classes were left out, by class. Raises InvalidInputError where the images
    are of several sizes or cameras.
    """
    sizes = {(image.width, image.height) for image in labelled}
    cameras = {image.camera for image in labelled}
    if len(sizes) != 1 or len(cameras) != 1:
        raise InvalidInputError(
            f"{labelled.root}: a MOT sequence is one camera at one size, got {sorted(cameras)} at {sorted(sizes)}"
        )
    frames, ids, boxes, confidences = [], [], [], []
    people = [image.chosen(image.class_ids == PERSON) for image in labelled]
    shift = int(any((image.track_ids == 0).any() for image in people))
    last = max((int(image.track_ids.max(initial=0)) for image in people), default=0) + shift
    for number, image in enumerate(people, start=1):
        for row, given in enumerate(image.track_ids.tolist()):
            identity = given + shift
            if given < 0:
                last += 1
                identity = last
            frames.append(number)
            ids.append(identity)
            boxes.append(image.xyxy[row])
            confidences.append(float(not image.ignored[row]))
    (width, height), camera = sizes.pop(), cameras.pop()
    (directory / "gt").mkdir(parents=True, exist_ok=True)
    name = camera or directory.name
    write_sequence_info(directory, SequenceInfo(name, _rate(labelled), len(labelled), width, height))
    table = np.array(boxes, np.float64).reshape(-1, 4)
    write_boxes(directory / TRUTH_FILE, MotBoxes(frames, ids, table, confidences))
    return Counter(CLASS_NAMES[index] for image in labelled for index in image.class_ids.tolist() if index != PERSON)


def _rate(labelled: LabelledImages) -> float:
    times = [image.captured_at for image in labelled if image.captured_at is not None]
    if len(times) < 2 or times[-1] <= times[0]:
        return 10.0
    return (len(times) - 1) / (times[-1] - times[0]).total_seconds()
