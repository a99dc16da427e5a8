"""How commands that read labelled images are told which of the platform's classes a label's name is."""

from __future__ import annotations

import typer

from pathcast.cli.key_values import value_of
from pathcast.detection.classes import ClassOf, class_ids_with

CLASSES = typer.Option(
    "{}",
    help="The platform's class by a label's other name, as training's --option classes=: "
    '\'{"pedestrian": "person"}\'.',
)


def chosen_classes(text: str) -> ClassOf:
    """The class of a label's name with those that `--classes` gives; see `class_ids_with` for what is refused."""
    return class_ids_with(value_of(text))
