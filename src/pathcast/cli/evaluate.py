"""`pathcast evaluate FAMILY`: how good a model is on data with known answers."""

from __future__ import annotations

import typer

app = typer.Typer(name="evaluate", no_args_is_help=True, help="Score a model on data with known answers.")


@app.callback()
def evaluate() -> None:
    """Score a model on data with known answers."""
