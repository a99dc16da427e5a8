"""The annotated video of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.observation import Observation
from pathcast.serving.drawing import Annotator
from pathcast.serving.mp4 import Mp4Writer


def write_video(
    path: Path, images: Iterator[tuple[UInt8Array, Observation]], camera: Camera, frames_per_second: float
) -> Mapping[int, UInt8Array]:
    """Write an H.264 mp4 of the annotated `images`; return every hundredth annotated image by its sequence."""
    annotator = Annotator(camera)
    kept: dict[int, UInt8Array] = {}
    with Mp4Writer(path, frames_per_second) as writer:
        for image, observation in images:
            drawn = annotator.draw(image, observation)
            writer.write(drawn)
            if observation.sequence % 100 == 0:
                kept[observation.sequence] = drawn.copy()
    return kept
