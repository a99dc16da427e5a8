"""Varied copies of labelled images for training; boxes follow the pixels.

Mosaic after Bochkovskiy et al., YOLOv4, 2020, arXiv:2004.10934; mixup after Zhang et al., 2018, arXiv:1710.09412, as
YOLOX uses it; cutout after DeVries and Taylor, 2017, arXiv:1708.04552.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float64Array, Int64Array, UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.preprocess import PADDING_GREY

Affine = npt.NDArray[np.float64]
"""(2, 3): column vectors (x, y, 1) of the source → (x, y) of the target, in pixels."""

_MOSAIC_ZOOM = 1.6
"""A mosaic is twice as large as the input; a zoom of 2 would show its objects as large as a single image does."""

_LEAST_SIDE = 3.0
_LEAST_VISIBLE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Pixels (h, w, 3) RGB with boxes (n, 4) xyxy in pixels and one `tags` row (n, t) of whole numbers per box.

    The first tag is the class; the others (identity, whether ignored) travel along.
    """

    pixels: UInt8Array
    boxes: Float64Array
    tags: Int64Array


@dataclass(frozen=True, slots=True)
class AugmentationSettings:
    """How far images are varied; probabilities in [0, 1].

    A share `plain` of the samples stays near to what the camera gives: all that follows is for the others. `scale`
    and `shift` (a share of the size) are ranges of the random resize and crop, `rotation` in degrees and
    `shear` up to which the affine map goes. Colours: `hue` in degrees, `saturation` and `brightness` as shares.
    """

    plain: float = 0.3
    mosaic: float = 0.6
    mixup: float = 0.1
    cutout: float = 0.1
    flip: float = 0.5
    scale: tuple[float, float] = (0.7, 1.5)
    shift: float = 0.15
    rotation: float = 3.0
    shear: float = 0.02
    hue: float = 8.0
    saturation: float = 0.4
    brightness: float = 0.3
    blur: float = 0.05
    noise: float = 0.05
    night: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.plain, self.mosaic, self.mixup, self.cutout, self.flip, self.blur, self.noise, self.night)
        if not all(0 <= share <= 1 for share in shares) or not 0 < self.scale[0] <= self.scale[1]:
            raise InvalidInputError(f"augmentation: expected probabilities in [0, 1] and a rising scale, got {self}")


NEAR = AugmentationSettings(0, 0, 0, 0, 0.5, (0.9, 1.1), 0.05, 0, 0, 4, 0.2, 0.15, 0, 0, 0)
"""Near to what the camera gives."""


def augmented(
    draw: Callable[[], Sample],
    settings: AugmentationSettings,
    width: int,
    height: int,
    random: np.random.Generator,
) -> Sample:
    """One training sample of that size in pixels; `draw` gives the next source image, as often as wanted."""
    if random.random() < settings.plain:
        settings = NEAR
    if random.random() < settings.mosaic:
        sample, zoom = mosaic([draw() for _ in range(4)], width, height, random), _MOSAIC_ZOOM
    else:
        sample, zoom = draw(), 1.0
    sample = warped(sample, random_affine(sample, settings, width, height, random, zoom), width, height)
    if random.random() < settings.mixup:
        other = draw()
        fitted = warped(other, fitting_affine(other, width, height), width, height)
        sample = mixed(sample, fitted, random.uniform(0.4, 0.6))
    if random.random() < settings.flip:
        sample = flipped(sample)
    sample = coloured(sample, settings, random)
    if random.random() < settings.cutout:
        sample = cut_out(sample, random)
    return weathered(sample, settings, random)


def fitting_affine(sample: Sample, width: int, height: int) -> Affine:
    """The platform's letterbox as a map: the image in the top-left corner, as large as fits."""
    scale = min(width / sample.pixels.shape[1], height / sample.pixels.shape[0])
    # Pixel centres, as cv2.resize has them.
    offset = (scale - 1) / 2
    return np.array([[scale, 0.0, offset], [0.0, scale, offset]])


def random_affine(
    sample: Sample,
    settings: AugmentationSettings,
    width: int,
    height: int,
    random: np.random.Generator,
    zoom: float = 1.0,
) -> Affine:
    """Resize (`zoom` times a random scale), crop, turn and shear around the middle of the fitted image."""
    fit = fitting_affine(sample, width, height)
    scale = zoom * np.exp(random.uniform(*np.log(settings.scale)))
    angle = np.deg2rad(random.uniform(-settings.rotation, settings.rotation))
    shear = random.uniform(-settings.shear, settings.shear)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.array([[1.0, shear], [0.0, 1.0]])
    middle = fit[:, :2] @ [sample.pixels.shape[1] / 2, sample.pixels.shape[0] / 2] + fit[:, 2]
    moved = middle + random.uniform(-settings.shift, settings.shift, 2) * [width, height]
    return np.hstack([turn @ fit[:, :2], (turn @ (fit[:, 2] - middle) + moved)[:, None]])


def warped(sample: Sample, affine: Affine, width: int, height: int) -> Sample:
    """The sample under a map into `width` x `height` pixels; boxes become the boxes around the mapped ones.

    Boxes are clipped; those of which less than a fifth, or fewer than 3 pixels a side, remain are left out.
    """
    pixels = cv2.warpAffine(
        sample.pixels, affine, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PADDING_GREY,) * 3
    )
    x1, y1, x2, y2 = sample.boxes.T
    # cv2 maps centres of pixels; a box's edges lie half a pixel before and after them.
    corners = np.stack([np.stack([x1, x2, x1, x2]), np.stack([y1, y1, y2, y2])]) - 0.5
    mapped = np.einsum("ij,jkn->ikn", affine[:, :2], corners) + affine[:, 2, None, None] + 0.5
    boxes = np.stack([mapped[0].min(0), mapped[1].min(0), mapped[0].max(0), mapped[1].max(0)], axis=1)
    return visible(pixels.astype(np.uint8, copy=False), boxes, sample.tags)


def visible(pixels: UInt8Array, boxes: Float64Array, tags: Int64Array) -> Sample:
    """A sample whose boxes are clipped to the pixels, without those of which too little is left."""
    height, width = pixels.shape[:2]
    clipped = np.stack(
        [
            boxes[:, 0].clip(0, width),
            boxes[:, 1].clip(0, height),
            boxes[:, 2].clip(0, width),
            boxes[:, 3].clip(0, height),
        ],
        axis=1,
    )
    sides = clipped[:, 2:] - clipped[:, :2]
    whole = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = (sides.min(axis=1, initial=np.inf) >= _LEAST_SIDE) & (sides.prod(axis=1) >= _LEAST_VISIBLE * whole)
    return Sample(pixels, clipped[kept], tags[kept])


def mosaic(samples: list[Sample], width: int, height: int, random: np.random.Generator) -> Sample:
    """Four samples around a random middle, on a canvas of twice the size; the affine map then cuts into it."""
    canvas = np.full((2 * height, 2 * width, 3), PADDING_GREY, np.uint8)
    middle_x, middle_y = (int(random.uniform(0.6, 1.4) * size) for size in (width, height))
    cells = [(0, 0, middle_x, middle_y), (middle_x, 0, 2 * width, middle_y)]
    cells += [(0, middle_y, middle_x, 2 * height), (middle_x, middle_y, 2 * width, 2 * height)]
    boxes, tags = [], []
    for index, (sample, (left, top, right, bottom)) in enumerate(zip(samples, cells, strict=True)):
        cell_width, cell_height = right - left, bottom - top
        scale = min(width / sample.pixels.shape[1], height / sample.pixels.shape[0])
        offset = (scale - 1) / 2
        # The inner corner of each image lies at the middle of the mosaic.
        across = cell_width - sample.pixels.shape[1] * scale if index % 2 == 0 else 0.0
        down = cell_height - sample.pixels.shape[0] * scale if index < 2 else 0.0
        affine = np.array([[scale, 0.0, offset + across], [0.0, scale, offset + down]])
        placed = warped(sample, affine, cell_width, cell_height)
        canvas[top:bottom, left:right] = placed.pixels
        boxes.append(placed.boxes + [left, top, left, top])
        tags.append(placed.tags)
    return Sample(canvas, np.concatenate(boxes), np.concatenate(tags))


def mixed(sample: Sample, other: Sample, share: float) -> Sample:
    """Both images laid over each other, with the boxes of both."""
    pixels = cv2.addWeighted(sample.pixels, share, other.pixels, 1 - share, 0).astype(np.uint8, copy=False)
    return Sample(pixels, np.concatenate([sample.boxes, other.boxes]), np.concatenate([sample.tags, other.tags]))


def flipped(sample: Sample) -> Sample:
    """Left and right swapped."""
    width = sample.pixels.shape[1]
    x1, y1, x2, y2 = sample.boxes.T
    return Sample(
        np.ascontiguousarray(sample.pixels[:, ::-1]), np.stack([width - x2, y1, width - x1, y2], axis=1), sample.tags
    )


def coloured(sample: Sample, settings: AugmentationSettings, random: np.random.Generator) -> Sample:
    """Hue turned, saturation and brightness scaled."""
    hue, saturation, value = cv2.split(cv2.cvtColor(sample.pixels, cv2.COLOR_RGB2HSV))
    levels = np.arange(256)
    # OpenCV's hue of 8 bits counts in steps of 2 degrees.
    turned = (levels + random.uniform(-settings.hue, settings.hue) / 2) % 180
    paler = levels * random.uniform(1 - settings.saturation, 1 + settings.saturation)
    darker = levels * random.uniform(1 - settings.brightness, 1 + settings.brightness)
    tables = [table.clip(0, 255).astype(np.uint8) for table in (turned, paler, darker)]
    planes = [cv2.LUT(plane, table) for plane, table in zip((hue, saturation, value), tables, strict=True)]
    return Sample(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB).astype(np.uint8), sample.boxes, sample.tags)


def cut_out(sample: Sample, random: np.random.Generator) -> Sample:
    """A grey rectangle over a part; boxes that it hides by more than two thirds are left out."""
    height, width = sample.pixels.shape[:2]
    size = random.uniform(0.05, 0.25, 2) * [width, height]
    left, top = (random.random(2) * ([width, height] - size)).astype(int)
    right, bottom = int(left + size[0]), int(top + size[1])
    pixels = sample.pixels.copy()
    pixels[top:bottom, left:right] = PADDING_GREY
    x1, y1, x2, y2 = sample.boxes.T
    hidden = (np.minimum(x2, right) - np.maximum(x1, left)).clip(0) * (
        np.minimum(y2, bottom) - np.maximum(y1, top)
    ).clip(0)
    kept = hidden <= 2 / 3 * (x2 - x1) * (y2 - y1)
    return Sample(pixels, sample.boxes[kept], sample.tags[kept])


def weathered(sample: Sample, settings: AugmentationSettings, random: np.random.Generator) -> Sample:
    """Blur, the sensor's noise, or night: dark, flat and noisy."""
    pixels = sample.pixels
    night = random.random() < settings.night
    if night:
        gamma = random.uniform(1.5, 2.5)
        table = (255 * (np.arange(256) / 255) ** gamma * random.uniform(0.4, 0.8)).astype(np.uint8)
        pixels = cv2.LUT(pixels, table)
    if random.random() < settings.blur:
        pixels = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.5, 1.5))
    if night or random.random() < settings.noise:
        grain = random.normal(0, random.uniform(2, 10), pixels.shape[:2]).astype(np.float32)[..., None]
        pixels = (pixels + grain).clip(0, 255)
    return Sample(np.asarray(pixels, np.uint8), sample.boxes, sample.tags)
