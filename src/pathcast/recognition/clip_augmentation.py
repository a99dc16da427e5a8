"""Varied copies of clips: what is drawn is drawn once for a clip, so nothing moves that did not move before.

Cutout after DeVries and Taylor, 2017, arXiv:1708.04552; mixup after Zhang et al., 2018, arXiv:1710.09412; CutMix after
Yun et al., 2019, arXiv:1905.04899, its box the same in every frame (as VideoMix, Yun et al., 2020, arXiv:2012.03457).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, Float64Array, UInt8Array
from pathcast.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class ClipAugmentation:
    """How far clips are varied; `flip`, `cutout`, `mixup` and `cutmix` are probabilities, at most one of the last two.

    `scale`: range of the random resize; what sticks out is cropped at a random place within `shift` (a share of the
    side). `rotation` in degrees and `shear` end the affine map. `brightness`, `contrast` and `saturation` are shares.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.9, 1.2)
    shift: float = 0.08
    rotation: float = 5.0
    shear: float = 0.05
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3
    cutout: float = 0.2
    mixup: float = 0.1
    cutmix: float = 0.1

    def __post_init__(self) -> None:
        chances = (self.flip, self.cutout, self.mixup, self.cutmix, self.mixup + self.cutmix)
        if not all(0 <= chance <= 1 for chance in chances) or not 0 < self.scale[0] <= self.scale[1]:
            raise InvalidInputError(f"augmentation: expected probabilities in [0, 1] and a rising scale, got {self}")
        object.__setattr__(self, "scale", tuple(self.scale))


PLAIN = ClipAugmentation(0.0, (1.0, 1.0), *[0.0] * 9)
"""No variation at all."""


def varied(frames: UInt8Array, settings: ClipAugmentation, random: np.random.Generator) -> UInt8Array:
    """The clip (t, h, w, 3) after one random affine map, flip, change of colour and perhaps cutout."""
    moved = _moved(frames, _affine(frames.shape[1], frames.shape[2], settings, random))
    coloured = _coloured(moved, settings, random)
    if random.random() < settings.cutout:
        top, bottom, left, right = _box(frames.shape[1], frames.shape[2], float(random.uniform(0.05, 0.25)), random)
        coloured[:, top:bottom, left:right] = 127
    return coloured


def mixed(
    one: tuple[UInt8Array, Float32Array],
    other: tuple[UInt8Array, Float32Array],
    settings: ClipAugmentation,
    random: np.random.Generator,
) -> tuple[UInt8Array, Float32Array]:
    """A clip with its label (c,), or, by chance, a mixture of two; labels are mixed as the pixels are."""
    draw = random.random()
    if draw >= settings.mixup + settings.cutmix:
        return one
    frames, label = one
    own = float(random.beta(1.0, 1.0))
    if draw < settings.mixup:
        pixels = np.rint(own * frames.astype(np.float32) + (1 - own) * other[0]).astype(np.uint8)
    else:
        height, width = frames.shape[1:3]
        top, bottom, left, right = _box(height, width, 1 - own, random)
        pixels = frames.copy()
        pixels[:, top:bottom, left:right] = other[0][:, top:bottom, left:right]
        own = 1 - (bottom - top) * (right - left) / (height * width)
    return pixels, np.asarray(own * label + (1 - own) * other[1], np.float32)


def _affine(height: int, width: int, settings: ClipAugmentation, random: np.random.Generator) -> Float64Array:
    """(2, 3): pixels of the source to pixels of the target, about the middle."""
    angle = np.deg2rad(random.uniform(-settings.rotation, settings.rotation))
    scale, shear = random.uniform(*settings.scale), random.uniform(-settings.shear, settings.shear)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1, shear], [0, 1]])
    if random.random() < settings.flip:
        linear = linear @ np.diag([-1.0, 1.0])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = random.uniform(-settings.shift, settings.shift, 2) * (width, height)
    return np.column_stack([linear, middle - linear @ middle + shift])


def _moved(frames: UInt8Array, affine: Float64Array) -> UInt8Array:
    size = (frames.shape[2], frames.shape[1])
    return np.stack([cv2.warpAffine(frame, affine, size, borderMode=cv2.BORDER_REFLECT_101) for frame in frames])


def _coloured(frames: UInt8Array, settings: ClipAugmentation, random: np.random.Generator) -> UInt8Array:
    brightness, contrast, saturation = (
        1 + random.uniform(-span, span) for span in (settings.brightness, settings.contrast, settings.saturation)
    )
    pixels = frames.astype(np.float32)
    grey = pixels.mean(axis=3, keepdims=True)
    pixels = grey + saturation * (pixels - grey)
    middle = pixels.mean()
    pixels = brightness * (middle + contrast * (pixels - middle))
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.uint8)


def _box(height: int, width: int, share: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box of about `share` of the area, of the frame's own form, within it."""
    tall, wide = (round(side * share**0.5) for side in (height, width))
    top, left = (int(random.integers(0, side - part + 1)) for side, part in ((height, tall), (width, wide)))
    return top, top + tall, left, left + wide
