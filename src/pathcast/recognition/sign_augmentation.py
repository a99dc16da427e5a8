"""Variations of a sign as cameras see it: turned, from the side, badly cut, lit, blurred, half hidden, mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.recognition.sign_classes import MIRRORED

MARGIN = 6
"""Pixels around the sign that training samples keep, so that moving it shows what is really there."""


@dataclass(frozen=True, slots=True)
class SignAugmentation:
    """How far a sample is varied; chances lie in [0, 1], lengths are shares of the sign's side."""

    rotation_deg: float = 12.0
    shift: float = 0.08
    shrink: float = 0.25
    enlarge: float = 0.12
    corners: float = 0.05
    light: float = 0.5
    colour: float = 0.15
    blur: float = 0.25
    motion: float = 0.2
    coarse: float = 0.2
    noise: float = 0.2
    cutout: float = 0.4

    def __call__(self, image: UInt8Array, label: int, random: np.random.Generator) -> tuple[UInt8Array, int]:
        """A variation (s, s, 3) of a sample (s + 2 margins, s + 2 margins, 3), and its class: mirrored, another's."""
        varied = self._moved(image, random)
        if label in MIRRORED and random.random() < 0.5:
            varied, label = varied[:, ::-1], MIRRORED[label]
        varied = self._blurred(np.ascontiguousarray(varied), random)
        return self._hidden(self._lit(varied, random), random), label

    def _moved(self, image: UInt8Array, random: np.random.Generator) -> UInt8Array:
        side = image.shape[0] - 2 * MARGIN
        angle = np.deg2rad(random.uniform(-self.rotation_deg, self.rotation_deg))
        # A larger part of the picture is a smaller sign.
        scale = np.exp(random.uniform(np.log(1 - self.enlarge), np.log(1 + self.shrink)))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        target = side * np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        shift = side * random.uniform(-self.shift, self.shift, 2)
        source = target @ turn.T + shift + side * random.uniform(-self.corners, self.corners, (4, 2))
        place = cv2.getPerspectiveTransform(
            (target + side / 2 - 0.5).astype(np.float32), (source + image.shape[0] / 2 - 0.5).astype(np.float32)
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(image, place, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))

    def _blurred(self, image: UInt8Array, random: np.random.Generator) -> UInt8Array:
        side = image.shape[0]
        if random.random() < self.coarse:
            small = int(random.integers(side // 3, side))
            shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
            image = cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR)
        if random.random() < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.4))
        if random.random() < self.motion:
            image = cv2.filter2D(image, -1, _streak(int(random.integers(3, 8)), random.uniform(0, np.pi)))
        return np.asarray(image, np.uint8)

    def _lit(self, image: UInt8Array, random: np.random.Generator) -> UInt8Array:
        values = image.astype(np.float32)
        mean = float(values.mean())
        tint = np.exp(random.uniform(-self.colour, self.colour, 3)).astype(np.float32)
        contrast = float(np.exp(random.uniform(-self.light, self.light)))
        brightness = mean * float(np.exp(random.uniform(-self.light, self.light)))
        values = ((values - mean) * (tint * contrast) + brightness).astype(np.float32)
        if random.random() < self.noise:
            values += random.normal(0, random.uniform(1, 2 + values.std() / 4), values.shape).astype(np.float32)
        return values.clip(0, 255).astype(np.uint8)

    def _hidden(self, image: UInt8Array, random: np.random.Generator) -> UInt8Array:
        if random.random() < self.cutout:
            side = image.shape[0]
            height, width = random.integers(side // 8, side // 3 + 1, 2)
            top, left = random.integers(0, side - height + 1), random.integers(0, side - width + 1)
            # What hides a sign is lit as its surroundings are.
            image[top : top + height, left : left + width] = image[tuple(random.integers(0, side, 2))]
        return image


def centre(images: UInt8Array) -> UInt8Array:
    """Samples (n, s + 2 margins, s + 2 margins, 3) without their margins, as they are served."""
    return np.ascontiguousarray(images[:, MARGIN:-MARGIN, MARGIN:-MARGIN])


def _streak(length: int, angle: float) -> Float32Array:
    """The kernel of a camera that moves `length` pixels in direction `angle` while it sees."""
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    first, last = (middle - reach).round().astype(int), (middle + reach).round().astype(int)
    cv2.line(kernel, first.tolist(), last.tolist(), 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)
