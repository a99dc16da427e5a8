"""Observations as files: MOT text, and Parquet tables of tracks and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pathcast.core.observation import Observation

TRACKS = pa.schema(
    [
        ("frame", pa.int64()),
        ("captured_at", pa.timestamp("us", tz="UTC")),
        ("track_id", pa.int64()),
        ("class_id", pa.int64()),
        ("left_px", pa.float32()),
        ("top_px", pa.float32()),
        ("right_px", pa.float32()),
        ("bottom_px", pa.float32()),
        ("score", pa.float32()),
        ("detected", pa.bool_()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("units", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""One row per track and frame; frames count from 1; x and y are the foot point in `units`."""

FORECASTS = pa.schema(
    [
        ("frame", pa.int64()),
        ("made_at", pa.timestamp("us", tz="UTC")),
        ("track_id", pa.int64()),
        ("path", pa.int64()),
        ("log_prob", pa.float32()),
        ("x", pa.list_(pa.float32(), 12)),
        ("y", pa.list_(pa.float32(), 12)),
        ("units", pa.dictionary(pa.int8(), pa.string())),
        ("model", pa.dictionary(pa.int8(), pa.string())),
        ("model_version", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""One row per predicted path: where the track will be 1 … 12 steps of 0.4 s after `made_at`."""

SCORES = pa.schema(
    [
        ("frame", pa.int64()),
        ("made_at", pa.timestamp("us", tz="UTC")),
        ("track_id", pa.int64()),
        ("status", pa.dictionary(pa.int8(), pa.string())),
        ("steps", pa.int64()),
        ("ade", pa.float64()),
        ("fde", pa.float64()),
        ("best_ade", pa.float64()),
        ("best_fde", pa.float64()),
        ("constant_velocity_ade", pa.float64()),
        ("constant_velocity_fde", pa.float64()),
        ("units", pa.dictionary(pa.int8(), pa.string())),
        ("model", pa.dictionary(pa.int8(), pa.string())),
        ("model_version", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""One row per forecast whose horizon has passed or whose track has ended, with its errors in `units`."""


def mot_text(observations: Sequence[Observation]) -> str:
    """MOT rows of the tracks: frame from 1, id, left, top, width, height, score, class, -1.

    The class is the platform's, counted from 1: a person's is that of MOT16, others' are not.
    """
    lines = []
    for each in observations:
        tracks = each.tracks
        sizes = tracks.xyxy[:, 2:] - tracks.xyxy[:, :2]
        columns = (tracks.track_ids, tracks.xyxy[:, :2], sizes, tracks.scores, tracks.class_ids)
        for identity, corner, size, score, class_id in zip(*(column.tolist() for column in columns), strict=True):
            numbers = ",".join(f"{value:.7g}" for value in (*corner, *size, score))
            lines.append(f"{each.sequence + 1},{identity},{numbers},{class_id + 1},-1\n")
    return "".join(lines)


def tracks_table(observations: Sequence[Observation]) -> pa.Table:
    """The table TRACKS of these frames."""
    counts = [len(each.tracks) for each in observations]
    boxes = _joined([each.tracks.xyxy for each in observations], (0, 4))
    positions = _joined([each.positions for each in observations], (0, 2))
    columns: list[Any] = [
        np.repeat([each.sequence + 1 for each in observations], counts),
        [each.captured_at for each, count in zip(observations, counts, strict=True) for _ in range(count)],
        _joined([each.tracks.track_ids for each in observations], (0,)),
        _joined([each.tracks.class_ids for each in observations], (0,)),
        *boxes.T,
        _joined([each.tracks.scores for each in observations], (0,)),
        _joined([each.tracks.detection_indices for each in observations], (0,)) >= 0,
        *positions.T,
        [each.units for each, count in zip(observations, counts, strict=True) for _ in range(count)],
    ]
    return _table(columns, TRACKS)


def forecasts_table(observations: Sequence[Observation]) -> pa.Table:
    """The table FORECASTS of these frames."""
    rows = [
        (
            each.sequence + 1,
            forecast.made_at,
            forecast.track_id,
            number,
            float(forecast.log_probs[number]),
            path[:, 0].tolist(),
            path[:, 1].tolist(),
            forecast.units,
            forecast.model,
            forecast.model_version,
        )
        for each in observations
        for forecast in each.forecasts
        for number, path in enumerate(forecast.paths)
    ]
    return _table(list(zip(*rows, strict=True)), FORECASTS)


def scores_table(observations: Sequence[Observation]) -> pa.Table:
    """The table SCORES of these frames."""
    errors = SCORES.names[5:11]
    rows = [
        (
            each.sequence + 1,
            score.made_at,
            score.track_id,
            score.status,
            score.steps,
            *(getattr(score, name) for name in errors),
            score.units,
            score.model,
            score.model_version,
        )
        for each in observations
        for score in each.scores
    ]
    return _table(list(zip(*rows, strict=True)), SCORES)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one Parquet file."""
    with _open(path, table.schema) as writer:
        writer.write_table(table)


def join_tables(parts: Sequence[Path], target: Path, schema: pa.Schema) -> int:
    """Write one Parquet file of `parts`, and return its number of rows."""
    rows = 0
    with _open(target, schema) as writer:
        for part in parts:
            table = pq.ParquetFile(part).read(use_threads=False)
            rows += table.num_rows
            writer.write_table(table)
    return rows


def _open(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Coordinates hardly repeat: dictionaries of them would make the files a quarter larger, and slower to write.
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False)


def _table(columns: list[Any], schema: pa.Schema) -> pa.Table:
    if not columns:
        return schema.empty_table()
    arrays = [
        pa.array(np.ascontiguousarray(column) if isinstance(column, np.ndarray) else column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _joined(parts: list[Any], empty: tuple[int, ...]) -> Any:
    return np.concatenate(parts) if parts else np.empty(empty)
