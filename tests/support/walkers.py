"""A camera that people walk past, written through the platform's own writers: frames, tracks, forecasts, scores."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import psycopg

from pathcast.core import Detections, FrameTracks, Observation
from pathcast.core.classifications import Classifications
from pathcast.core.trajectory import STEP
from pathcast.forecasting.ledger import ForecastLedger
from pathcast.serving.remote_models import constant_velocity
from pathcast.storage.writers import write_observations

BATCH = 400


def walk(
    connection: psycopg.Connection,
    camera_id: str,
    start: datetime,
    length: timedelta,
    *,
    pace: float = 1.0,
    version: str = "1",
    brightness: float = 120.0,
    box_height: float = 0.2,
    kinds: tuple[int, ...] = (),
    sureness: float = 0.95,
    seed: int = 0,
) -> None:
    """Store what a camera sees in `length`: a frame each 0.4 s, three walkers at a time, each for a minute or so.

    Walkers bend their way as they go, so that walking straight on errs; at a `pace` of 1.6 they walk the same ways
    1.6 times as fast. The forecasts of `version` are scored by the platform's own ledger. Of `kinds`, classes of a
    classifier `signs`, each walker shows one by chance, of which the classifier is about so sure.
    """
    random = np.random.default_rng(seed)
    ledger = ForecastLedger(camera_id, "m")
    waiting: list[Observation] = []
    lives = np.zeros(3, int)
    ids, position, heading, speed = np.zeros(3, int), np.zeros((3, 2)), np.zeros(3), np.zeros(3)
    next_id = seed * 100_000
    for frame in range(int(length / STEP)):
        for walker in np.flatnonzero(lives == 0):
            next_id += 1
            ids[walker], lives[walker] = next_id, random.integers(40, 160)
            position[walker], heading[walker] = random.uniform(-5, 5, 2), random.uniform(0, 2 * np.pi)
            speed[walker] = random.normal(1.3, 0.25)
        lives -= 1
        heading += random.normal(0, 0.12, 3)
        position = position + (
            pace * speed[:, None] * STEP.total_seconds() * np.column_stack([np.cos(heading), np.sin(heading)])
        )
        order = np.argsort(ids)
        height = 480 * box_height * random.normal(1, 0.05, 3)
        corners = random.uniform(100, 200, (3, 2))
        boxes = np.column_stack([corners, corners[:, 0] + height / 3, corners[:, 1] + height])
        tracks = FrameTracks(ids[order], boxes, np.full(3, 0.8), np.zeros(3, int), np.arange(3))
        moment = start + frame * STEP
        due, scores = ledger.advance(moment, tracks, position[order])
        forecasts = ()
        if due is not None:
            answer = constant_velocity(due.observed)
            bent = answer.paths + random.normal(0, 0.05 * pace, answer.paths.shape)
            forecasts = ledger.record(due, bent, answer.log_probs, "forecaster", version)
        scored = Detections(boxes, random.normal(0.7, 0.05, 3).clip(0, 1), np.zeros(3, int))
        said: tuple[Classifications, ...] = ()
        if kinds:
            sure = random.normal(sureness, 0.02, 3).clip(0, 1)
            said = (Classifications("signs", version, np.arange(3), random.choice(kinds, 3), sure),)
        waiting.append(
            Observation(
                camera_id, frame, moment, 640, 480, "detector", "1", scored, tracks, position[order], "m",
                forecasts, scores, brightness=brightness + random.normal(0, 3), sharpness=15 + random.normal(0, 1),
                classifications=said,
            )
        )  # fmt: skip
        if len(waiting) == BATCH:
            write_observations(connection, waiting)
            waiting = []
    write_observations(connection, waiting)
