"""What the demo measured, as printed, as JSON and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from pathcast.core.trajectory import METRES


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Every figure of one demo run; None where it could not be measured (no ground truth, no score).

    `fps` is frames through the whole pipeline over the time the two streaming phases took, waiting
    included. `stage_ms` maps the analyzer's stages to p50 and p99 per call. Errors are in `units` and are
    those of the model trained during this run, over the forecasts it made and could score; the
    constant-velocity figures are over the very same forecasts. Scores of detector and tracker are
    percentages but for `person_ap50`, a fraction.
    """

    video: str
    camera_id: str
    units: str
    duration_s: float
    phases_s: Mapping[str, float]
    frames_expected: int
    frames_stored: int
    frames_analysed: int
    duplicate_rows: int
    sequence_gaps: int
    detections: int
    tracks: int
    fps: float
    stage_ms: Mapping[str, Mapping[str, float]]
    person_ap50: float | None
    hota: float | None
    mota: float | None
    idf1: float | None
    forecasts: int
    forecasts_scored: int
    forecasts_track_ended: int
    forecasts_open: int
    ade: float | None
    fde: float | None
    best_ade: float | None
    best_fde: float | None
    constant_velocity_ade: float | None
    constant_velocity_fde: float | None
    compared_forecasts: int
    parity_max_error: float
    models: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The figures with their units in the keys: `ade_m` for metres, `ade_frame_heights` without calibration."""
        fields = asdict(self)
        suffix = "m" if self.units == METRES else self.units
        errors = ("ade", "fde", "best_ade", "best_fde", "constant_velocity_ade", "constant_velocity_fde")
        for name in (*errors, "parity_max_error"):
            fields[f"{name}_{suffix}"] = fields.pop(name)
        return fields

    def table(self) -> Table:
        """The figures as people read them."""
        unit = "m" if self.units == METRES else "frame heights"
        table = Table(title=f"pathcast demo · {self.video}", show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in self.rows(unit):
            table.add_row(name, value)
        return table

    def rows(self, unit: str) -> list[tuple[str, str]]:
        """Label and value of each line of the table."""
        lines = [
            ("frames stored", f"{self.frames_stored} of {self.frames_expected}"),
            ("frames analysed", f"{self.frames_analysed}"),
            ("duplicate rows · gaps", f"{self.duplicate_rows} · {self.sequence_gaps}"),
            ("detections · tracks", f"{self.detections} · {self.tracks}"),
            ("end-to-end rate", f"{self.fps:.1f} frames/s"),
        ]
        lines += [
            (f"  {stage}", f"p50 {timing['p50']:.1f} ms · p99 {timing['p99']:.1f} ms")
            for stage, timing in self.stage_ms.items()
        ]
        if self.person_ap50 is not None:
            lines.append(("detector, person AP50", f"{self.person_ap50:.3f}"))
        if self.hota is not None:
            lines.append(("tracker, HOTA · MOTA · IDF1", f"{self.hota:.1f} · {self.mota:.1f} · {self.idf1:.1f}"))
        lines += [
            ("forecasts", f"{self.forecasts}"),
            (
                "  scored · track ended · still open",
                f"{self.forecasts_scored} · {self.forecasts_track_ended} · {self.forecasts_open}",
            ),
        ]
        if self.ade is not None:
            lines += [
                (
                    f"forecaster, ADE / FDE ({self.compared_forecasts} forecasts)",
                    f"{self.ade:.3f} / {self.fde:.3f} {unit}",
                ),
                ("forecaster, best of its paths", f"{self.best_ade:.3f} / {self.best_fde:.3f} {unit}"),
                (
                    "constant velocity, the same forecasts",
                    f"{self.constant_velocity_ade:.3f} / {self.constant_velocity_fde:.3f} {unit}",
                ),
            ]
        lines += [(f"model {name}", f"version {version}") for name, version in self.models.items()]
        lines.append(("time in all", f"{self.duration_s:.0f} s"))
        return lines
