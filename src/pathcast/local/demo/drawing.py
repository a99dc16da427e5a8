"""The annotated video: boxes, identities, the path walked and the fan of predicted paths."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.camera import Camera
from pathcast.core.forecast import Forecast
from pathcast.core.observation import Observation

PATH_FRAMES = 40
"""How much of the path walked is drawn, in frames."""

SHOWN_SHARE = 0.2
"""Paths less likely than this share of the likeliest are not drawn."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def colour_of(track_id: int) -> tuple[int, int, int]:
    """A bright RGB colour; neighbouring ids lie far apart on the colour wheel."""
    red, green, blue = colorsys.hsv_to_rgb(track_id * 0.618034 % 1.0, 0.75, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


class Annotator:
    """Draws one camera's observations; feed them in frame order, so that paths can grow.

    The newest forecast of each track stays on screen until the next, fainter paths being less likely.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._walked: dict[int, list[tuple[int, int]]] = {}
        self._forecasts: dict[int, Forecast] = {}

    def draw(self, image: UInt8Array, observation: Observation) -> UInt8Array:
        """Return `image` (h, w, 3) RGB with everything drawn on it, in place."""
        height = image.shape[0]
        tracks = observation.tracks
        self._forecasts |= {forecast.track_id: forecast for forecast in observation.forecasts}
        fans = image.copy()
        for track_id in tracks.track_ids.tolist():
            if track_id in self._forecasts:
                self._draw_fan(fans, self._forecasts[track_id], height)
        cv2.addWeighted(fans, 0.65, image, 0.35, 0.0, dst=image)
        for track_id, box in zip(tracks.track_ids.tolist(), tracks.xyxy.round().astype(int).tolist(), strict=True):
            colour = colour_of(track_id)
            left, top, right, bottom = box
            walked = self._walked.setdefault(track_id, [])
            walked.append(((left + right) // 2, bottom))
            del walked[:-PATH_FRAMES]
            cv2.polylines(image, [np.asarray(walked)], False, colour, 2, cv2.LINE_AA)
            cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
            cv2.putText(image, str(track_id), (left, top - 4), _FONT, 0.5, colour, 2, cv2.LINE_AA)
        label = f"{observation.camera_id}  {observation.captured_at:%H:%M:%S}  frame {observation.sequence}"
        cv2.putText(image, label, (8, 20), _FONT, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        return image

    def _draw_fan(self, image: UInt8Array, forecast: Forecast, height: int) -> None:
        order = np.argsort(forecast.log_probs)  # the most likely path last, on top
        strength = np.exp(forecast.log_probs - forecast.log_probs.max())
        start: Float64Array = forecast.origin[None].astype(np.float64)
        for mode in order[strength[order] >= SHOWN_SHARE].tolist():
            path = np.concatenate([start, forecast.paths[mode]])
            pixels = self._camera.pixels(path, height)
            if not np.isfinite(pixels).all() or np.abs(pixels).max() > 10 * height:
                continue
            share = 0.25 + 0.75 * float(strength[mode])
            colour = tuple(int(channel * share) for channel in colour_of(forecast.track_id))
            points = [pixels.round().astype(int)]
            cv2.polylines(image, points, False, colour, 3 if mode == order[-1] else 1, cv2.LINE_AA)


def write_video(
    path: Path, images: Iterator[tuple[UInt8Array, Observation]], camera: Camera, frames_per_second: float
) -> Mapping[int, UInt8Array]:
    """Write an H.264 mp4 of the annotated `images`; return every hundredth annotated image by its sequence."""
    annotator = Annotator(camera)
    kept: dict[int, UInt8Array] = {}
    writer = None
    for image, observation in images:
        drawn = annotator.draw(image, observation)
        if writer is None:
            size = (drawn.shape[1], drawn.shape[0])
            writer = imageio_ffmpeg.write_frames(
                str(path),
                size,
                fps=frames_per_second,
                codec="libx264",
                quality=4,
                macro_block_size=2,
                ffmpeg_log_level="error",
            )
            writer.send(None)
        writer.send(np.ascontiguousarray(drawn))
        if observation.sequence % 100 == 0:
            kept[observation.sequence] = drawn.copy()
    if writer is not None:
        writer.close()
    return kept
