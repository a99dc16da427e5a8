"""TrajNet's files: text of frame, id, x, y (as S-GAN distributes it too) and TrajNet++'s ndjson.

Becker et al. 2018 (TrajNet), Kothari et al. 2021 (TrajNet++); x and y in metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pathcast.core.errors import InvalidInputError
from pathcast.core.trajectory import Trajectory
from pathcast.forecasting.track_rows import (
    TrackRow,
    finite,
    frames_per_step_at,
    on_steps,
    read_lines,
    resampled,
    usual_spacing,
    whole,
)

COLUMNS = ("frame", "id", "x", "y")
ROWS_PER_SECOND = 2.5
_TRACK_KEYS = ("f", "p", "x", "y")


def read_text(path: Path, *, name: str | None = None, frame_rate: float | None = None) -> list[Trajectory]:
    """The tracks of a text file, columns separated by white space or commas.

    The rows of a track are 0.4 s apart, however many frames that is, unless `frame_rate` (Hz, of the frame
    numbers) is given; then rows may lie at any frame. Raises InvalidInputError, naming the file and the row, on
    a wrong number of columns, values that are not finite numbers, frames and ids that are not whole, rows off
    the spacing of their track, and a repeated time of one id.
    """
    rows = read_rows(path)
    recording = path.stem if name is None else name
    if frame_rate is None:
        return on_steps(path, recording, rows, usual_spacing(path, rows))
    return resampled(path, recording, rows, frames_per_step_at(path, frame_rate))


def read_rows(path: Path) -> list[TrackRow]:
    """The rows of a text file as they are; raises InvalidInputError as `read_text` does."""
    return [_parse(path, number, line) for number, line in read_lines(path, expected=", ".join(COLUMNS))]


def _parse(path: Path, number: int, line: str) -> TrackRow:
    fields = line.replace(",", " ").split()
    if len(fields) != len(COLUMNS):
        raise InvalidInputError(
            f"{path} row {number}: expected {len(COLUMNS)} columns ({', '.join(COLUMNS)}), got {len(fields)}"
        )
    frame, identity = (whole(path, number, *pair) for pair in zip(COLUMNS[:2], fields[:2], strict=True))
    x, y = (finite(path, number, *pair) for pair in zip(COLUMNS[2:], fields[2:], strict=True))
    return TrackRow(frame, identity, x, y, number)


def read_ndjson(path: Path, *, name: str | None = None) -> list[Trajectory]:
    """The tracks of a TrajNet++ file: rows {"track": {"f", "p", "x", "y"}}, scenes {"scene": {..., "fps"}}.

    A scene's `fps` is the rate of a track's rows (2.5 Hz in TrajNet++); all scenes must agree. Rows with a
    `prediction_number` are forecasts of others and are left out. Raises InvalidInputError as `read_text` does.
    """
    rows: list[TrackRow] = []
    rates: dict[float, int] = {}
    for number, line in read_lines(path, expected='{"track": …} or {"scene": …}'):
        kind, fields = _entry(path, number, line)
        if kind == "scene":
            if "fps" in fields:
                rates.setdefault(finite(path, number, "fps", fields["fps"]), number)
            continue
        if fields.get("prediction_number") is not None:
            continue
        missing = [key for key in _TRACK_KEYS if key not in fields]
        if missing:
            raise InvalidInputError(
                f"{path} row {number}: track: expected the keys {', '.join(_TRACK_KEYS)}, got no {', '.join(missing)}"
            )
        frame, identity = (whole(path, number, key, fields[key]) for key in _TRACK_KEYS[:2])
        x, y = (finite(path, number, key, fields[key]) for key in _TRACK_KEYS[2:])
        rows.append(TrackRow(frame, identity, x, y, number))
    if not rows:
        raise InvalidInputError(f'{path}: expected rows of {{"track": …}}, got scenes only')
    if len(rates) > 1:
        found = ", ".join(f"{rate:g} in row {number}" for rate, number in rates.items())
        raise InvalidInputError(f"{path}: expected scenes of one fps, got {found}")
    recording, spacing = path.stem if name is None else name, usual_spacing(path, rows)
    per_step = spacing * frames_per_step_at(path, next(iter(rates), ROWS_PER_SECOND))
    if per_step == spacing:
        return on_steps(path, recording, rows, spacing)
    return resampled(path, recording, rows, per_step)


def _entry(path: Path, number: int, line: str) -> tuple[str, Mapping[str, Any]]:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"{path} row {number}: expected a JSON object: {error}") from error
    for kind in ("track", "scene"):
        if isinstance(value, dict) and isinstance(value.get(kind), dict):
            return kind, value[kind]
    raise InvalidInputError(f'{path} row {number}: expected {{"track": {{…}}}} or {{"scene": {{…}}}}, got {line[:60]}')
