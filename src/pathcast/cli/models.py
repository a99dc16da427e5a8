"""`pathcast models`: what is in the model repository, and putting models there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pathcast.core.settings import PlatformSettings
    from pathcast.registry.repository import ModelRepository

app = typer.Typer(name="models", no_args_is_help=True, help="Models: import, list, show.")

STATE_DIR = typer.Option(Path(".pathcast"), help="The local platform's state, to find its servers.")


class ImportFamily(StrEnum):
    """Families whose foreign files can be imported."""

    DETECTOR = "detector"


@app.command("import", epilog="Example: pathcast models import yolox_nano.onnx --family detector --frames gate.mp4")
def import_model(
    file: Path = typer.Argument(..., help="A YOLOX ONNX file: COCO's 80 classes, raw grid output."),
    family: ImportFamily = typer.Option(..., help="What the model is."),
    name: str = typer.Option("detector", help="The model's name in the registry and in Triton."),
    frames: Path | None = typer.Option(None, help="A video, or a folder of images, to check the result on."),
    output: Path | None = typer.Option(None, help="Write a model repository here; without it, publish and serve."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Convert a published model to the served signature, check it against its source, and serve it.

    With --output nothing needs to run: DIR/NAME gets config.pbtxt, README.md and 1/model.onnx. Without it, the
    model becomes the next version in MLflow and in the object store, Triton loads it, and after a smoke test
    it is the champion.
    """
    from rich.console import Console

    from pathcast.registry.detector import import_detector, write_detector

    console, progress = Console(), Console(stderr=True)
    with progress.status(f"importing {file.name} as {family.value}"):
        if output is not None:
            detector = write_detector(file, output, model=name, frames=frames)
        else:
            from pathcast.core.settings import load_settings

            published = import_detector(load_settings(state_dir), file, model=name, frames=frames)
    if output is not None:
        console.print(f"{output / name}: written; {detector.parity.summary()}", markup=False, highlight=False)
    else:
        console.print(
            f"{name} version {published.version}: served and champion; SHA-256 {published.sha256}",
            markup=False,
            highlight=False,
        )


@app.command("list", epilog="Example: pathcast models list")
def list_models(state_dir: Path = STATE_DIR) -> None:
    """Every model in the repository, with its versions, and what Triton serves."""
    from rich.console import Console
    from rich.table import Table

    from pathcast.core.settings import load_settings
    from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
    from pathcast.serving.triton_client import TritonClient

    settings = load_settings(state_dir)
    repository, registry = _repository(settings), ModelRegistry(settings.mlflow_tracking_uri)
    table = Table()
    for heading in ("model", "versions", CHAMPION, CHALLENGER, "served"):
        table.add_column(heading)
    with TritonClient(settings.triton_grpc) as client:
        for model in repository.models():
            versions = [published.version for published in repository.versions(model)]
            served = [version for version in versions if client.ready(model, str(version))]
            marks = [registry.alias(model, alias) for alias in (CHAMPION, CHALLENGER)]
            table.add_row(
                model, _numbers(versions), *("" if mark is None else str(mark) for mark in marks), _numbers(served)
            )
    Console().print(table)


@app.command("show", epilog="Example: pathcast models show detector")
def show_model(model: str = typer.Argument(..., help="The model's name."), state_dir: Path = STATE_DIR) -> None:
    """A model's versions and its card."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from pathcast.core.errors import InvalidInputError
    from pathcast.core.settings import load_settings
    from pathcast.registry.tracking import ModelRegistry

    settings = load_settings(state_dir)
    repository = _repository(settings)
    versions = repository.versions(model)
    if not versions:
        known = ", ".join(repository.models()) or "no models"
        raise InvalidInputError(
            f"model {model}: not in the repository, which has {known}", hint="see `pathcast models list`"
        )
    registered = {entry.version: entry for entry in ModelRegistry(settings.mlflow_tracking_uri).versions(model)}
    table = Table(title=model)
    for heading in ("version", "published", "MiB", "SHA-256", "aliases"):
        table.add_column(heading)
    for published in versions:
        entry = registered.get(published.version)
        table.add_row(
            str(published.version),
            f"{published.published_at:%Y-%m-%d %H:%M} UTC",
            f"{published.size_bytes / 2**20:.1f}",
            published.sha256[:12],
            "" if entry is None else ", ".join(entry.aliases),
        )
    console = Console()
    console.print(table)
    console.print(Markdown(repository.card(model)))


def _repository(settings: PlatformSettings) -> ModelRepository:
    from pathcast.registry.publishing import object_store
    from pathcast.registry.repository import ModelRepository

    return ModelRepository(object_store(settings), settings.models_bucket)


def _numbers(versions: list[int]) -> str:
    return ", ".join(map(str, versions))
