"""Observations as they were recorded, put together again from their tables."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import psycopg

from pathcast.core.classifications import Classifications
from pathcast.core.detections import Detections
from pathcast.core.forecast import Forecast
from pathcast.core.observation import Observation
from pathcast.core.track import FrameTracks
from pathcast.storage.connection import database_errors
from pathcast.storage.reads import read_forecasts

_HEAD_COLUMNS = "captured_at, sequence, width, height, detector, detector_version, brightness, sharpness, appearance"
_DETECTION_COLUMNS = "x1, y1, x2, y2, score, class_id, classifier, classifier_version, kind_id, kind_probability"
_TRACK_COLUMNS = "x1, y1, x2, y2, score, class_id, track_id, coalesce(detection_index, -1), x, y, units"


def read_observations(
    connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime
) -> list[Observation]:
    """One camera's observations in [since, until), in time order.

    A forecast stands with the first frame at or after the step it was made at, as when it was emitted.
    Scores are left out (`read_scores` gives them), and so are the embeddings of detections, of which
    the mean alone is stored.
    """
    span = (camera_id, since, until)
    where = "WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s ORDER BY captured_at"
    with database_errors(f"read the observations of {camera_id}"):
        heads = connection.execute(
            f"SELECT {_HEAD_COLUMNS} FROM observations {where}",  # noqa: S608
            span,
        ).fetchall()
        found = _by_time(
            connection.execute(
                f"SELECT captured_at, {_DETECTION_COLUMNS} FROM detections {where}, detection_index",  # noqa: S608
                span,
            ).fetchall()
        )
        followed = _by_time(
            connection.execute(
                f"SELECT captured_at, {_TRACK_COLUMNS} FROM tracks {where}, track_id",  # noqa: S608
                span,
            ).fetchall()
        )
    moments = [head[0] for head in heads]
    made = _by_frame(read_forecasts(connection, camera_id, since, until), moments)
    return [
        _observation(camera_id, head, found[head[0]], followed[head[0]], made[index])
        for index, head in enumerate(heads)
    ]


def _observation(
    camera_id: str,
    head: tuple[Any, ...],
    found: list[tuple[Any, ...]],
    followed: list[tuple[Any, ...]],
    forecasts: list[Forecast],
) -> Observation:
    captured_at, sequence, width, height, detector, detector_version, brightness, sharpness, appearance = head
    detections = np.asarray([row[:6] for row in found], dtype=np.float64).reshape(-1, 6)
    tracks = np.asarray([row[:10] for row in followed], dtype=np.float64).reshape(-1, 10)
    units = followed[0][10] if followed else (forecasts[0].units if forecasts else "frame_heights")
    return Observation(
        camera_id=camera_id,
        sequence=sequence,
        captured_at=captured_at,
        width=width,
        height=height,
        detector=detector,
        detector_version=detector_version,
        detections=Detections(detections[:, :4], detections[:, 4], detections[:, 5]),
        tracks=FrameTracks(tracks[:, 6], tracks[:, :4], tracks[:, 4], tracks[:, 5], tracks[:, 7]),
        positions=tracks[:, 8:10],
        units=units,
        forecasts=tuple(forecasts),
        brightness=brightness,
        sharpness=sharpness,
        classifications=_classifications([row[6:] for row in found]),
        appearance=None if appearance is None else np.array(appearance, np.float32),
    )


def _classifications(kinds: Sequence[tuple[Any, ...]]) -> tuple[Classifications, ...]:
    """What each classifier said, from the columns classifier, version, class and probability of all detections."""
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (model, version, _, _) in enumerate(kinds):
        if model is not None:
            rows[model, version].append(row)
    return tuple(
        Classifications(*key, chosen, [kinds[row][2] for row in chosen], [kinds[row][3] for row in chosen])
        for key, chosen in sorted(rows.items())
    )


def _by_time(rows: list[tuple[Any, ...]]) -> defaultdict[datetime, list[tuple[Any, ...]]]:
    """Rows without their first column, by that column."""
    grouped: defaultdict[datetime, list[tuple[Any, ...]]] = defaultdict(list)
    for moment, *values in rows:
        grouped[moment].append(tuple(values))
    return grouped


def _by_frame(forecasts: Sequence[Forecast], moments: Sequence[datetime]) -> defaultdict[int, list[Forecast]]:
    grouped: defaultdict[int, list[Forecast]] = defaultdict(list)
    for forecast in forecasts:
        grouped[bisect_left(moments, forecast.made_at)].append(forecast)
    return grouped
