"""MOT sequences that are made up: ground truth, and detections that miss and err."""

from pathlib import Path

import numpy as np

from pathcast.tracking.mot_format import MotBoxes, SequenceInfo, write_boxes, write_sequence_info


def make_sequence(folder: Path, name: str, seed: int, frames: int = 40) -> None:
    """Six walkers who cross, of whom one in five detections is missing or moved."""
    random = np.random.default_rng(seed)
    numbers, ids = np.repeat(np.arange(1, frames + 1), 6), np.tile(np.arange(1, 7), frames)
    left = random.uniform(0, 500, 6)[ids - 1] + random.uniform(-6, 6, 6)[ids - 1] * numbers
    top = random.uniform(0, 300, 6)[ids - 1]
    xyxy = np.stack((left, top, left + 40, top + 110), axis=1)
    kept = random.random(len(ids)) > 0.2
    seen = xyxy + random.normal(0, 3, (len(ids), 1))
    for part, rows, boxes, marks, scores in (
        ("gt", kept | True, xyxy, ids, np.ones(len(ids))),
        ("det", kept, seen, ids * 0 - 1, random.uniform(0.3, 1, len(ids))),
    ):
        (folder / name / part).mkdir(parents=True)
        write_boxes(
            folder / name / part / f"{part}.txt", MotBoxes(numbers[rows], marks[rows], boxes[rows], scores[rows])
        )
    write_sequence_info(folder / name, SequenceInfo(name, 10, frames, 640, 480))
