"""Labelled images as samples: pixels with boxes and, for each, its class and its identity."""

from __future__ import annotations

import numpy as np

from pathcast.detection.augmentation import Sample
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.preprocess import letterbox

PADDING, IGNORED = -1, -2
"""In place of a class: no box at all, and a box that counts neither way."""

InputSize = tuple[int, int]
"""Width and height of the network's input in pixels."""


def as_sample(labelled: LabelledImages, image: LabelledImage) -> Sample:
    """An image with its boxes, of which the tags are class (or IGNORED) and identity."""
    tags = np.stack([np.where(image.ignored, IGNORED, image.class_ids), image.track_ids], axis=1)
    return Sample(labelled.read(image), np.array(image.xyxy), tags)


def fitted(labelled: LabelledImages, image: LabelledImage, size: InputSize) -> Sample:
    """The image as the platform will show it to the network, its boxes in input pixels."""
    sample = as_sample(labelled, image)
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    fit = letterbox(sample.pixels, pixels)
    return Sample(pixels, fit.to_input(sample.boxes), sample.tags)
