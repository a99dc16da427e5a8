"""Fitting a frame into the detector's input."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.detection.settings import STRIDES

PADDING_GREY = 114
"""The grey of the padding, as in YOLOX's training."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame was fitted: input pixels = frame pixels x (`scale_x`, `scale_y`), top-left corners aligned.

    The two scales differ slightly, because the resized image has whole pixels on both axes.
    """

    frame_width: int
    frame_height: int
    scale_x: float
    scale_y: float

    @classmethod
    def fit(cls, frame_width: int, frame_height: int, input_width: int, input_height: int) -> Letterbox:
        """The largest fit that keeps the aspect ratio.

        >>> Letterbox.fit(832, 416, 416, 416)
        Letterbox(frame_width=832, frame_height=416, scale_x=0.5, scale_y=0.5)
        """
        _require_pixels(frame_width, frame_height)
        # Integer comparison and floor division: a float ratio can lose the last pixel of an exact fit.
        if input_width * frame_height <= input_height * frame_width:
            width, height = input_width, max(1, frame_height * input_width // frame_width)
        else:
            width, height = max(1, frame_width * input_height // frame_height), input_height
        return cls(frame_width, frame_height, width / frame_width, height / frame_height)

    @property
    def content_width(self) -> int:
        """Columns of the input that hold the frame; the rest is padding."""
        return round(self.frame_width * self.scale_x)

    @property
    def content_height(self) -> int:
        """Rows of the input that hold the frame; the rest is padding."""
        return round(self.frame_height * self.scale_y)

    def to_input(self, xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Boxes (n, 4) in frame pixels, in input pixels."""
        return np.asarray(xyxy, dtype=np.float64) * self._scales()

    def to_frame(self, xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Boxes (n, 4) in input pixels, in frame pixels; not clipped."""
        return np.asarray(xyxy, dtype=np.float64) / self._scales()

    def _scales(self) -> npt.NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y])


def fitted_input(frame_width: int, frame_height: int, input_width: int, input_height: int) -> tuple[int, int]:
    """Width and height of the least input, of whole cells, that takes a frame as large as the given input does.

    What is left out is padding. Ultralytics calls it rectangular inference.

    >>> fitted_input(1920, 1080, 416, 416)
    (416, 256)
    """
    _require_pixels(frame_width, frame_height)
    cell = STRIDES[-1]
    if input_width * frame_height <= input_height * frame_width:
        return input_width, -(-frame_height * input_width // (frame_width * cell)) * cell
    return -(-frame_width * input_height // (frame_height * cell)) * cell, input_height


def letterbox(image: UInt8Array, out: UInt8Array) -> Letterbox:
    """Resize `image` (h, w, 3) into the top-left of `out` (H, W, 3) and grey the rest, as YOLOX's `preproc` does.

    `out` is written in place (a row of a batch array costs no copy); the order of channels is kept,
    so a model that takes RGB needs an RGB frame.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidInputError(f"image: expected uint8 of shape (h, w, 3), got {image.dtype} of shape {image.shape}")
    fit = Letterbox.fit(image.shape[1], image.shape[0], out.shape[1], out.shape[0])
    width, height = fit.content_width, fit.content_height
    cv2.resize(image, (width, height), dst=out[:height, :width], interpolation=cv2.INTER_LINEAR)
    out[height:] = PADDING_GREY
    out[:height, width:] = PADDING_GREY
    return fit


def _require_pixels(frame_width: int, frame_height: int) -> None:
    if frame_width < 1 or frame_height < 1:
        raise InvalidInputError(f"frame size: expected at least 1x1 pixel, got {frame_width}x{frame_height}")
