"""Frames of the archive, labelled by a teacher, camera by camera: `pathcast pipeline run label_archive`."""

from kfp import dsl

from components.label_frames.component import label_frames
from pipelines.cluster import on_cluster


@dsl.pipeline(name="label-archive", description="COCO labels for a detector, of what the cameras saw.")
def label_archive(
    cameras: list,  # type: ignore[type-arg]
    hours: float = 1.0,
    teacher: str = "detector",
    every: int = 25,
) -> list:  # type: ignore[type-arg]
    """The labels are artefacts of the run, one folder for each camera."""
    with dsl.ParallelFor(cameras, name="each-camera") as camera:
        labelled = on_cluster(label_frames(camera=camera, hours=hours, teacher=teacher, every=every))
    return dsl.Collected(labelled.outputs["Output"])
