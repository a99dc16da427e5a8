"""The drift report: one HTML file that needs no network, made with Evidently."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from pathcast.core.errors import PathcastError
from pathcast.monitoring.check import Compared
from pathcast.monitoring.distances import Shift

_EVIDENTLYS_LEAST = 1e-3

# The page carries all its scripts; nothing in it may ask for more.
_POLICY = (
    "<meta http-equiv='Content-Security-Policy' content=\"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: "
    "blob:; connect-src 'none'\">"
)
_STYLE = (
    "<style>.pathcast{font:15px/1.5 sans-serif;margin:2em}.pathcast td,.pathcast th{padding:.2em .9em;text-align:left;"
    "border-bottom:1px solid #ddd}.pathcast .alarm{color:#b00020;font-weight:bold}"
    ".pathcast .unknown{color:#777}</style>"
)


def write_report(compared: Sequence[Compared], path: Path) -> None:
    """Write to `path`: a table of all findings, then Evidently's view of each signal that is judged by its values.

    Raises PathcastError where the extra `monitor` is not installed.
    """
    drawn = [each for each in compared if isinstance(each.signal.distance, Shift) and each.finding.judgement.distance]
    head = f"{_POLICY}{_STYLE}<title>Drift</title>"
    page = _evidently_page(drawn) if drawn else "<html><head></head><body></body></html>"
    page = page.replace("<head>", f"<head>{head}", 1).replace("<body>", f"<body>{_table(compared)}", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _evidently_page(compared: Sequence[Compared]) -> str:
    _opt_out()
    try:
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift
    except ImportError as error:
        raise PathcastError(
            f"the drift report needs Evidently: {error}", hint="install it: pip install 'pathcast[monitor]'"
        ) from error
    names = [f"{each.finding.signal}, {each.finding.camera_id}" for each in compared]
    definition = DataDefinition(numerical_columns=names)
    before, now = (
        Dataset.from_pandas(
            pd.DataFrame({name: pd.Series(values) for name, values in zip(names, columns, strict=True)}), definition
        )
        for columns in ([each.reference.value for each in compared], [each.current.value for each in compared])
    )
    drifts = [
        ValueDrift(column=name, method="wasserstein", threshold=_evidently_threshold(each))
        for name, each in zip(names, compared, strict=True)
    ]
    page: str = Report(drifts).run(now, before).get_html_str(as_iframe=False)
    return page


def _evidently_threshold(compared: Compared) -> float:
    """The same limit for a distance that is a part of the reference's deviation however small that is."""
    deviation = max(float(compared.reference.value.std()), _EVIDENTLYS_LEAST)
    shift = compared.signal.distance
    spread = shift.spread(compared.reference) if isinstance(shift, Shift) else deviation
    return compared.finding.judgement.threshold * spread / deviation


def _opt_out() -> None:
    """Evidently and its helper report their use to their makers unless told not to; here they never may."""
    for name in ("DO_NOT_TRACK", "ITERATIVE_DO_NOT_TRACK", "EVIDENTLY_DISABLE_TELEMETRY"):
        os.environ[name] = "1"


def _table(compared: Sequence[Compared]) -> str:
    rows = []
    for finding in (each.finding for each in compared):
        judged = finding.judgement
        numbers = (judged.reference, judged.value, judged.distance, judged.threshold)
        cells = [
            finding.camera_id,
            finding.signal,
            *("" if number is None else f"{number:.3g}" for number in numbers),
            judged.verdict,
            judged.reason,
        ]
        text = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr class='{judged.verdict}'>{text}</tr>")
    windows = {(each.finding.family, each.finding.window) for each in compared}
    titles = "".join(
        f"<h1>{escape(family)}, {window.since:%Y-%m-%d %H:%M:%S} to {window.until:%Y-%m-%d %H:%M:%S} UTC</h1>"
        for family, window in sorted(windows, key=lambda each: (each[0], each[1].since))
    )
    headings = ("camera", "signal", "reference", "now", "distance", "alarm from", "verdict", "")
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<div class='pathcast'>{titles}<table><tr>{head}</tr>{''.join(rows)}</table></div>"
