"""What is drawn on frames: boxes, identities, the path walked and the fan of predicted paths."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import cv2
import numpy as np

from pathcast.core.array_codec import decode_state, encode_state
from pathcast.core.arrays import UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.forecast import Forecast
from pathcast.core.observation import Observation

PATH_FRAMES = 40
"""How much of the path walked is drawn, in frames."""

_PATH_STEP = 2
"""Every second frame's point: the line looks the same, and smoothed lines are what costs in drawing."""

SHOWN_SHARE = 0.2
"""Paths less likely than this share of the likeliest are not drawn."""

_KIND, _VERSION = "annotator", 1
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_DIGIT_WIDTH, _LABEL_HEIGHT = 10, 16


def colour_of(track_id: int) -> tuple[int, int, int]:
    """A bright RGB colour; neighbouring ids lie far apart on the colour wheel."""
    red, green, blue = colorsys.hsv_to_rgb(track_id * 0.618034 % 1.0, 0.75, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


class _Line(NamedTuple):
    """A predicted path as it is drawn: (13, 2) pixels, RGB, width in pixels."""

    points: list[list[int]]
    colour: tuple[int, int, int]
    width: int


class Annotator:
    """Draws one camera's observations; feed them in frame order, so that paths can grow.

    The newest forecast of each track stays on screen until the next, fainter paths being less likely. A track
    unseen for as many frames as its path shows is forgotten.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._walked: dict[int, list[tuple[int, int]]] = {}
        self._fans: dict[int, list[_Line]] = {}
        self._seen_in: dict[int, int] = {}
        self._frame = 0

    def draw(self, image: UInt8Array, observation: Observation) -> UInt8Array:
        """Return `image` (h, w, 3) RGB with everything drawn on it, in place."""
        tracks = observation.tracks
        for forecast in observation.forecasts:
            self._fans[forecast.track_id] = self._fan(forecast, image.shape[0])
        self._forget(tracks.track_ids.tolist())
        for key in tracks.track_ids.tolist():
            for line in self._fans.get(key, ()):
                cv2.polylines(image, [np.asarray(line.points)], False, line.colour, line.width, cv2.LINE_AA)
        for track_id, box in zip(tracks.track_ids.tolist(), tracks.xyxy.round().astype(int).tolist(), strict=True):
            colour = colour_of(track_id)
            left, top, right, bottom = box
            foot = ((left + right) // 2, bottom)
            walked = self._walked.setdefault(track_id, [])
            cv2.polylines(image, [np.asarray([*walked, foot])], False, colour, 2, cv2.LINE_AA)
            cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
            _label(image, str(track_id), left, max(top, _LABEL_HEIGHT), colour)
            if self._frame % _PATH_STEP == 0:
                walked.append(foot)
                del walked[: -PATH_FRAMES // _PATH_STEP]
        label = f"{observation.camera_id}  {observation.captured_at:%H:%M:%S}  frame {observation.sequence}"
        cv2.putText(image, label, (8, 20), _FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        return image

    def state(self) -> bytes:
        """What is drawn from memory, so that `restore` goes on with the same pictures."""
        values = {
            "frame": self._frame,
            "seen_in": list(self._seen_in.items()),
            "walked": list(self._walked.items()),
            "fans": list(self._fans.items()),
        }
        return encode_state(_KIND, _VERSION, values, {})

    def restore(self, data: bytes) -> None:
        """Take up where `state` was taken. Raises InvalidInputError on damaged bytes."""
        values, _ = decode_state(data, _KIND, _VERSION)
        self._frame = values["frame"]
        self._seen_in = dict(values["seen_in"])
        self._walked = {track_id: [(x, y) for x, y in points] for track_id, points in values["walked"]}
        self._fans = {
            track_id: [_Line(points, (red, green, blue), width) for points, (red, green, blue), width in lines]
            for track_id, lines in values["fans"]
        }

    def _forget(self, track_ids: list[int]) -> None:
        self._frame += 1
        self._seen_in |= dict.fromkeys(track_ids, self._frame)
        self._seen_in = {key: frame for key, frame in self._seen_in.items() if frame > self._frame - PATH_FRAMES}
        self._walked = {key: points for key, points in self._walked.items() if key in self._seen_in}
        self._fans = {key: lines for key, lines in self._fans.items() if key in self._seen_in}

    def _fan(self, forecast: Forecast, height: int) -> list[_Line]:
        """The lines of a forecast, the most likely last, on top; those far outside the frame are left out."""
        order = np.argsort(forecast.log_probs)
        strength = np.exp(forecast.log_probs - forecast.log_probs.max())
        modes = order[strength[order] >= SHOWN_SHARE]
        start = np.broadcast_to(forecast.origin, (len(modes), 1, 2))
        paths = np.concatenate([start, forecast.paths[modes]], axis=1)
        pixels = self._camera.pixels(paths.reshape(-1, 2), height).reshape(paths.shape)
        near = np.isfinite(pixels).all(axis=(1, 2)) & (np.abs(pixels).max(axis=(1, 2)) <= 10 * height)
        red, green, blue = colour_of(forecast.track_id)
        lines = []
        for mode, points in zip(modes[near].tolist(), pixels[near].round().astype(int).tolist(), strict=True):
            share = 0.25 + 0.75 * float(strength[mode])
            colour = (int(red * share), int(green * share), int(blue * share))
            lines.append(_Line(points, colour, 3 if mode == order[-1] else 1))
        return lines


def _label(image: UInt8Array, text: str, left: int, bottom: int, colour: tuple[int, int, int]) -> None:
    """Dark digits on a patch of `colour`, which ends at `bottom`."""
    right, top = left + _DIGIT_WIDTH * len(text) + 3, bottom - _LABEL_HEIGHT
    cv2.rectangle(image, (left - 1, top), (right, bottom), colour, cv2.FILLED)
    cv2.putText(image, text, (left + 1, bottom - 3), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
