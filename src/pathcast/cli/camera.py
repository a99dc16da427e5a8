"""`pathcast camera`: what the platform knows of cameras before their frames come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.core.settings import STATE_DIR, load_settings

if TYPE_CHECKING:
    from pathcast.core.camera import Camera
    from pathcast.core.settings import PlatformSettings


def camera(
    files: list[Path] = typer.Argument(help="Descriptions of cameras (TOML, see docs/operating.md)."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
) -> None:
    """Make the cameras known that files describe: their calibration, and what classifiers they ask.

    It counts for a camera from its first frame on; where an analyzer knows the camera already, from the
    analyzer's next start on.
    """
    from rich.console import Console

    for each in describe(load_settings(state_dir), read_descriptions(files)):
        asked = ", ".join(_asked([each]))
        Console().print(
            f"{each.camera_id}: positions in {each.units}{f', asks {asked}' if asked else ''}",
            markup=False,
            highlight=False,
        )


def read_descriptions(files: Sequence[Path]) -> list[Camera]:
    """The cameras that the files describe; InvalidInputError, naming the file, where one does not."""
    from pathcast.core.camera import read_camera_file
    from pathcast.serving.detection_classifier import EVERY_CLASS, class_number

    described = [read_camera_file(file) for file in files]
    for each in described:
        for key in (each.classify or {}).keys() - {EVERY_CLASS}:
            class_number(key)
    return described


def describe(settings: PlatformSettings, cameras: Sequence[Camera]) -> list[Camera]:
    """Make the cameras known to the platform, and warn of models that they ask and Triton does not serve.

    What a description leaves out stays as it is, an empty table does not. Returns the cameras as they are known now.
    """
    from pathcast.storage.cameras import read_camera, upsert_camera
    from pathcast.storage.connection import connect

    if not cameras:
        return []
    with connect(settings.database_url, application_name="pathcast-camera") as connection:
        for each in cameras:
            plane = each.ground_plane
            upsert_camera(connection, each.camera_id, None if plane is None else plane.as_mapping(), each.classify)
        known = [camera for each in cameras if (camera := read_camera(connection, each.camera_id))]
    warn_of_missing(settings, _asked(known))
    return known


def _asked(cameras: Sequence[Camera]) -> list[str]:
    """The models that the cameras ask."""
    return sorted({model for each in cameras for model in (each.classify or {}).values()})


def warn_of_missing(settings: PlatformSettings, models: Sequence[str]) -> None:
    """Tell on stderr which of the models Triton does not serve, or that it does not answer."""
    from rich.console import Console

    from pathcast.serving.triton_client import TritonClient

    if not models:
        return
    with TritonClient(settings.triton_grpc) as client:
        answers = client.server_ready()
        missing = [model for model in models if not answers or not client.ready(model)]
    if not missing:
        return
    where = f"Triton at {settings.triton_grpc}"
    said = (
        f"not served by {where}; until it is, the analyzer waits. `pathcast models publish` serves one that comes with "
        "Pathcast, the pipeline train_model a new one"
        if answers
        else f"it is not known whether it is served: {where} does not answer (`pathcast status`)"
    )
    Console(stderr=True).print(f"warning: {', '.join(missing)}: {said}", markup=False, highlight=False)
