"""Frames of the archive, labelled by a teacher, for people to correct and the detector to learn from."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def label_frames(
    camera: str,
    hours: float,
    teacher: str,
    every: int,
    labelled: dsl.Output[dsl.Dataset],
) -> dict:  # type: ignore[type-arg]
    """Write images/ and labels.json (COCO) into `labelled`; the number of images, and of boxes by class."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.archive_labels import label_archive
    from pathcast.training.labelling import LabellingSettings

    rules = LabellingSettings(every=every)
    counts = label_archive(load_settings(), camera, hours, teacher, Path(labelled.path), rules)
    labelled.metadata.update(counts)
    return {"camera": camera, **counts}
