"""A calibrated camera before which people walk in wide circles, analysed by the platform's own code."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from pathcast.core import Detections, Observation
from pathcast.core.camera import Camera
from pathcast.core.ground_plane import HomographyPlane
from pathcast.serving.frame_analyzer import Forecaster
from pathcast.serving.replay import RecordedDetector, recorded_frames, replay

FPS = 5
LIFE_FRAMES = 100
"""20 s for each walker, then another one comes: 31 windows at the platform's 0.4 s."""

METRES_PER_PIXEL = 0.02
PLANE = HomographyPlane(np.diag([METRES_PER_PIXEL, METRES_PER_PIXEL, 1.0]).tolist())


def seen(camera_id: str, since: datetime, length: timedelta, *, pace: float = 1.0, seed: int = 0) -> list[Observation]:
    """What a detector sees: a frame each 0.2 s, three walkers far apart, at `pace` times their usual speed."""
    random = np.random.default_rng(seed)
    frames = int(length.total_seconds() * FPS)
    lives = -(-frames // LIFE_FRAMES)
    speed, turn = random.uniform(0.9, 1.5, (lives, 3)), random.uniform(0.12, 0.2, (lives, 3))
    turn *= random.choice([-1, 1], turn.shape)
    start = random.uniform(0, 2 * np.pi, (lives, 3))
    observations = []
    for number in range(frames):
        life, age = divmod(number, LIFE_FRAMES)
        seconds = pace * age / FPS
        heading = start[life] + turn[life] * seconds
        radius = speed[life] / turn[life]
        place = radius[:, None] * np.stack(
            [np.sin(heading) - np.sin(start[life]), np.cos(start[life]) - np.cos(heading)], 1
        )
        # Each has a part of the picture of its own, another one in the next life.
        centre = np.array([[25.0, 25.0], [60.0, 25.0], [95.0, 25.0]]) + (0, 35.0 * (life % 2))
        foot = (place + centre + random.normal(0, 0.01, (3, 2))) / METRES_PER_PIXEL
        boxes = np.stack([foot[:, 0] - 40, foot[:, 1] - 200, foot[:, 0] + 40, foot[:, 1]], axis=1)
        found = Detections(boxes, np.full(3, 0.9), np.zeros(3))
        moment = since + timedelta(seconds=number / FPS)
        observations.append(
            Observation(camera_id, number, moment, 6000, 4500, "detector", "1", found, None, None, "m")  # type: ignore[arg-type]
        )
    return observations


def analysed(recorded: list[Observation], forecaster: Forecaster) -> list[Observation]:
    """What the analyzer makes of it: tracks, forecasts, scores."""
    camera = Camera(recorded[0].camera_id, PLANE)
    return replay(recorded_frames(recorded), camera, RecordedDetector(recorded), forecaster)
