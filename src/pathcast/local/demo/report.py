"""The demo's plots and its one-file HTML report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import jinja2
import numpy as np
from matplotlib.figure import Figure

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.forecast import Forecast
from pathcast.core.trajectory import FUTURE_STEPS, METRES, STEP_NANOSECONDS, Trajectory
from pathcast.local.demo.result import DemoResult
from pathcast.serving.drawing import colour_of

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pathcast demo</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td { padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #e4e7eb }
td + td { text-align: right; font-variant-numeric: tabular-nums }
img, video { max-width: 100%; border-radius: 6px } figure { margin: 1rem 0 } figcaption { color: #57606a }
</style></head><body>
<h1>From {{ result.video }} to scored forecasts</h1>
<p>Camera <b>{{ result.camera_id }}</b>, positions in {{ unit }}. A forecast covers the next 4.8 s;
its error is measured when those 4.8 s have passed, against the track that really came.</p>
<video controls muted loop src="data:video/mp4;base64,{{ video }}"></video>
<h2>Figures</h2>
<table>{% for name, value in rows %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>{% endfor %}</table>
{% for title, caption, picture in pictures %}
<h2>{{ title }}</h2>
<figure><img alt="{{ title }}" src="data:image/png;base64,{{ picture }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
</body></html>
"""


def horizon_errors(
    forecasts: Sequence[Forecast], trajectories: Sequence[Trajectory]
) -> tuple[Float64Array, Float64Array]:
    """Mean error of the most likely paths, and of constant velocity, at each of the 12 steps ahead.

    Both (12,), in the forecasts' units; NaN at a horizon that no forecast reached. A step counts where the
    track's real position is known.
    """
    actual = {
        (path.track_id, path.first_step + index): point
        for path in trajectories
        for index, point in enumerate(path.positions)
    }
    model = np.full((len(forecasts), FUTURE_STEPS), np.nan)
    straight = np.full((len(forecasts), FUTURE_STEPS), np.nan)
    for row, forecast in enumerate(forecasts):
        likely = forecast.most_likely_path
        for ahead in range(1, FUTURE_STEPS + 1):
            point = actual.get((forecast.track_id, forecast.made_at_step + ahead))
            if point is not None:
                model[row, ahead - 1] = np.linalg.norm(likely[ahead - 1] - point)
                straight[row, ahead - 1] = np.linalg.norm(forecast.origin + ahead * forecast.velocity - point)
    return _mean_by_column(model), _mean_by_column(straight)


def write_report(
    folder: Path,
    result: DemoResult,
    forecasts: Sequence[Forecast],
    trajectories: Sequence[Trajectory],
    stills: Mapping[int, UInt8Array],
    video: Path,
) -> Path:
    """Write the plots as PNG files and `report.html`, which holds everything; return its path."""
    unit = "metres" if result.units == METRES else "frame heights"
    pictures = []
    for name, title, caption, figure in (
        (
            "error_by_horizon",
            "Error against horizon",
            "Mean distance between prediction and truth; the forecaster's most likely path beside walking straight on.",
            _plot_horizon(*horizon_errors(forecasts, trajectories), unit),
        ),
        (
            "paths",
            "Paths walked",
            "All tracks on the common 0.4 s grid, seen from above; one colour per identity.",
            _plot_paths(trajectories, unit),
        ),
        (
            "stages",
            "Where the time goes",
            "Time per call of each stage in the analyzer, a call being up to 16 frames; thick bar p50, thin line p99.",
            _plot_stages(result.stage_ms),
        ),
    ):
        data = _png(figure)
        (folder / f"{name}.png").write_bytes(data)
        pictures.append((title, caption, base64.b64encode(data).decode()))
    for sequence, image in list(stills.items())[-2:]:
        data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
        (folder / f"frame_{sequence:06d}.png").write_bytes(data)
        caption = "Boxes with identities, the path walked, and the fan of predicted paths, thick for the likeliest."
        pictures.append((f"Frame {sequence}", caption, base64.b64encode(data).decode()))
    page = jinja2.Environment(autoescape=True).from_string(_TEMPLATE)
    path = folder / "report.html"
    path.write_text(
        page.render(
            result=result,
            unit=unit,
            rows=result.rows("m" if result.units == METRES else unit),
            pictures=pictures,
            video=base64.b64encode(video.read_bytes()).decode(),
        ),
        encoding="utf-8",
    )
    return path


def _plot_horizon(model: Float64Array, straight: Float64Array, unit: str) -> Figure:
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    seconds = np.arange(1, FUTURE_STEPS + 1) * STEP_NANOSECONDS / 1e9
    axes.plot(seconds, straight, color="#8c959f", marker="o", label="constant velocity")
    axes.plot(seconds, model, color="#0969da", marker="o", label="forecaster")
    axes.set(xlabel="seconds ahead", ylabel=f"mean error ({unit})", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _plot_paths(trajectories: Sequence[Trajectory], unit: str) -> Figure:
    figure = Figure(figsize=(7, 5))
    axes = figure.subplots()
    for path in trajectories:
        colour = tuple(channel / 255 for channel in colour_of(path.track_id))
        axes.plot(*path.positions.T, color=colour, linewidth=1.2, alpha=0.8)
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    if unit != "metres":
        axes.invert_yaxis()
    axes.grid(alpha=0.3)
    return figure


def _plot_stages(stage_ms: Mapping[str, Mapping[str, float]]) -> Figure:
    figure = Figure(figsize=(7, 0.5 * len(stage_ms) + 1.2))
    axes = figure.subplots()
    names = list(stage_ms)[::-1]
    axes.barh(names, [stage_ms[name]["p50"] for name in names], color="#0969da", height=0.5)
    axes.hlines(names, 0, [stage_ms[name]["p99"] for name in names], color="#1b1f24", linewidth=1)
    axes.set(xlabel="milliseconds per call")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    return buffer.getvalue()


def _mean_by_column(errors: Float64Array) -> Float64Array:
    known = np.isfinite(errors)
    count = known.sum(axis=0)
    sums = np.where(known, errors, 0.0).sum(axis=0)
    means: Float64Array = np.divide(sums, count, out=np.full(errors.shape[1], np.nan), where=count > 0)
    return means
