"""The demo's figures, read back from the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import psycopg

from pathcast.core.forecast import ForecastScore
from pathcast.core.observation import Observation
from pathcast.detection.average_precision import person_ap50
from pathcast.storage.connection import database_errors
from pathcast.tracking.evaluation import ScoredSequence, TrackingScores, evaluate
from pathcast.tracking.mot_format import MotBoxes, from_tracks, read_boxes

_PERSON = 0

_KEYS = {
    "frames": "camera_id, captured_at",
    "observations": "camera_id, captured_at",
    "detections": "camera_id, captured_at, detection_index",
    "tracks": "camera_id, captured_at, track_id",
    "forecasts": "camera_id, made_at, track_id, model, model_version",
    "forecast_scores": "camera_id, made_at, track_id, model, model_version",
}


@dataclass(frozen=True, slots=True)
class TableCounts:
    """Rows of one camera and time span by table, rows that share their natural key, and missing sequences."""

    rows: dict[str, int]
    duplicates: int
    gaps: int


def count_rows(connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime) -> TableCounts:
    """Count what lies in [since, until); a gap is a sequence number missing in `frames` or `observations`."""
    rows, duplicates, gaps = {}, 0, 0
    with database_errors("count the demo's rows"):
        for table, key in _KEYS.items():
            time = "made_at" if "made_at" in key else "captured_at"
            source = f"FROM {table} WHERE camera_id = %s AND {time} >= %s AND {time} < %s"
            span = (camera_id, since, until)
            (total, distinct) = connection.execute(
                f"SELECT count(*), count(DISTINCT ({key})) {source}",  # noqa: S608 - names from above
                span,
            ).fetchone() or (0, 0)
            rows[table] = total
            duplicates += total - distinct
            if table in ("frames", "observations"):
                (missing,) = connection.execute(
                    f"SELECT coalesce(max(sequence) - min(sequence) + 1 - count(DISTINCT sequence), 0) {source}",  # noqa: S608
                    span,
                ).fetchone() or (0,)
                gaps += missing
    return TableCounts(rows, duplicates, gaps)


@dataclass(frozen=True, slots=True)
class ForecastErrors:
    """Mean errors over `count` scored forecasts, in their units."""

    count: int
    ade: float
    fde: float
    best_ade: float
    best_fde: float
    constant_velocity_ade: float
    constant_velocity_fde: float


def mean_errors(scores: Sequence[ForecastScore], model: str, version: str) -> ForecastErrors | None:
    """Over the forecasts of one model version whose tracks lived through the horizon; None without any."""
    names = ("ade", "fde", "best_ade", "best_fde", "constant_velocity_ade", "constant_velocity_fde")
    rows = [
        [getattr(score, name) for name in names]
        for score in scores
        if score.status == "scored" and (score.model, score.model_version) == (model, version)
    ]
    if not rows:
        return None
    return ForecastErrors(len(rows), *np.asarray(rows, dtype=np.float64).mean(axis=0).tolist())


@dataclass(frozen=True, slots=True)
class GroundTruthScores:
    """Of the demo's own run against MOT ground truth: person AP50 (fraction) and the tracker's scores."""

    person_ap50: float
    tracking: TrackingScores


def score_against_ground_truth(path: Path, observations: Sequence[Observation]) -> GroundTruthScores:
    """Score the persons in `observations`, frame order, against the MOT file at `path` (frame 1 is the first)."""
    length = len(observations)
    truth = read_boxes(path, length=length, identified=True)
    persons = [each.detections.select(each.detections.class_ids == _PERSON) for each in observations]
    tracked = ScoredSequence(truth, _person_tracks(observations), length)
    return GroundTruthScores(person_ap50(persons, truth), evaluate({"demo": tracked})[0])


def _person_tracks(observations: Sequence[Observation]) -> MotBoxes:
    boxes = from_tracks({number: each.tracks for number, each in enumerate(observations, start=1)})
    classes = np.concatenate([each.tracks.class_ids for each in observations])
    return boxes.select(classes == _PERSON)
