"""`pathcast bench NAME`: how fast a part is, beside what else does the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from pathcast.cli.output_file import write_json

app = typer.Typer(name="bench", no_args_is_help=True, help="Measure how fast a part is.")


@app.callback()
def bench() -> None:
    """Measure how fast a part is, beside what else does the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ratio` is `value` over the value of the row named `ratio_to`, None where it stands alone."""

    name: str
    value: float
    unit: str
    ratio_to: str | None = None
    ratio: float | None = None


def report(title: str, rows: Sequence[Row], json: Path | None) -> None:
    """Print the rows, and write them to the file if one is named."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("name")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("ratio", justify="right")
    table.add_column("to")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        table.add_row(row.name, f"{row.value:.4g}", row.unit, ratio, row.ratio_to or "")
    Console().print(table)
    write_json(json, {"rows": rows})
