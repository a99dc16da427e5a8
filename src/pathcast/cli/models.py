"""`pathcast models`: what is in the model repository, putting models there, and which of them serves."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from pathcast.core.settings import PlatformSettings
    from pathcast.registry.repository import ModelRepository
    from pathcast.registry.tracking import RegisteredModel

app = typer.Typer(
    name="models", no_args_is_help=True, help="Models: import, list, show, compare, promote, roll back, prune."
)

_FAILURES_SHOWN = 5

STATE_DIR = typer.Option(Path(".pathcast"), file_okay=False, help="The local platform's state, to find its servers.")


class ImportFamily(StrEnum):
    """Families whose foreign files can be imported."""

    DETECTOR = "detector"


class ShippedModel(StrEnum):
    """Models that are Pathcast's own code."""

    ACTIONS = "actions"
    DETECTOR = "detector"
    FORECASTER = "forecaster"
    MOT = "mot"
    SIGNS = "signs"


@app.command("import", epilog="Example: pathcast models import yolox_nano.onnx --family detector --frames gate.mp4")
def import_model(
    file: Path = typer.Argument(..., help="YOLOX as ONNX (raw grid output), or Ultralytics as ONNX or .pt (AGPL-3.0)."),
    family: ImportFamily = typer.Option(..., help="What the model is."),
    name: str = typer.Option("detector", help="The model's name in the registry and in Triton."),
    frames: Path | None = typer.Option(None, help="A video, or a folder of images, to check the result on."),
    frame_size: str | None = typer.Option(
        None,
        help="WIDTHxHEIGHT of all cameras' frames: a YOLOX's input is cut to their shape; less padding, less time.",
    ),
    output: Path | None = typer.Option(
        None, file_okay=False, help="Write a model repository here; without it, publish and serve."
    ),
    state_dir: Path = STATE_DIR,
) -> None:
    """Convert a published model to the served signature, check it against its source, and serve it.

    With --output nothing needs to run: DIR/NAME gets config.pbtxt, README.md and 1/model.onnx. Without it, the
    model becomes the next version in MLflow and in the object store, Triton loads it, and after a smoke test
    it is the champion.
    """
    from rich.console import Console

    from pathcast.registry.detector import import_detector, write_detector

    size = None if frame_size is None else _size(frame_size)
    console, progress = Console(), Console(stderr=True)
    with progress.status(f"importing {file.name} as {family.value}"):
        if output is not None:
            detector = write_detector(file, output, model=name, frames=frames, frame_size=size)
        else:
            from pathcast.core.settings import load_settings

            settings = load_settings(state_dir)
            published = import_detector(settings, file, model=name, frames=frames, frame_size=size)
    if output is not None:
        console.print(f"{output / name}: written; {detector.parity.summary()}", markup=False, highlight=False)
    else:
        console.print(
            f"{name} version {published.version}: served and champion; SHA-256 {published.sha256}",
            markup=False,
            highlight=False,
        )


def _size(text: str) -> tuple[int, int]:
    """Width and height of WIDTHxHEIGHT."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"--frame-size: expected WIDTHxHEIGHT such as 1920x1080, got {text!r}")
    return int(width), int(height)


@app.command("publish", epilog="Example: pathcast models publish detector")
def publish_model(
    model: ShippedModel = typer.Argument(..., help="A model that comes with Pathcast."),
    folder: Path | None = typer.Option(None, help="Where its folder lies; by default in the checkout. Not for `mot`."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Serve a model that comes with Pathcast; `mot` is published by `pathcast up` itself."""
    from rich.console import Console

    from pathcast.core.settings import load_settings
    from pathcast.registry.mot import publish_mot
    from pathcast.registry.shipped import publish_shipped
    from pathcast.serving.triton_client import TritonClient

    settings = load_settings(state_dir)
    if model is ShippedModel.MOT:
        published = publish_mot(_repository(settings))
        with TritonClient(settings.triton_grpc) as client:
            client.load(model.value)
    else:
        published = publish_shipped(settings, model.value, folder)
    Console().print(f"{model.value} version {published.version}: served", markup=False, highlight=False)


@app.command("list", epilog="Example: pathcast models list")
def list_models(state_dir: Path = STATE_DIR) -> None:
    """Every model in the repository, with its versions, and what Triton serves."""
    from rich.console import Console

    from pathcast.core.settings import load_settings
    from pathcast.registry.publishing import challenger_of

    settings = load_settings(state_dir)
    known = _repository(settings).models()
    Console().print(_standing(settings, sorted(set(known) - {challenger_of(model) for model in known})))


@app.command("show", epilog="Example: pathcast models show detector")
def show_model(model: str = typer.Argument(..., help="The model's name."), state_dir: Path = STATE_DIR) -> None:
    """A model's versions, the runs that failed for it, and its card."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from pathcast.core.errors import InvalidInputError
    from pathcast.core.settings import load_settings
    from pathcast.registry.tracking import ModelRegistry

    settings = load_settings(state_dir)
    repository, registry = _repository(settings), ModelRegistry(settings.mlflow_tracking_uri)
    published = {entry.version: entry for entry in repository.versions(model)}
    registered = {entry.version: entry for entry in registry.versions(model)}
    if not published and not registered:
        known = ", ".join(repository.models()) or "no models"
        raise InvalidInputError(
            f"model {model}: not in the repository, which has {known}", hint="see `pathcast models list`"
        )
    table = Table(title=model)
    for heading in ("version", "published", "MiB", "SHA-256", "commit", "aliases"):
        table.add_column(heading)
    table.add_column("gates", no_wrap=True)
    for number in sorted(published | registered):
        file, entry = published.get(number), registered.get(number)
        table.add_row(
            str(number),
            "no" if file is None else f"{file.published_at:%Y-%m-%d %H:%M} UTC",
            "" if file is None else f"{file.size_bytes / 2**20:.1f}",
            "" if file is None else file.sha256[:12],
            "" if entry is None else entry.tags.get("git_commit", "")[:12],
            "" if entry is None else ", ".join(entry.aliases),
            "" if entry is None else _gates(entry),
        )
    console = Console()
    console.print(table)
    if failures := registry.failures(model)[:_FAILURES_SHOWN]:
        failed = Table(title="what failed last", show_header=False)
        for each in failures:
            failed.add_row(f"{each.at:%Y-%m-%d %H:%M} UTC", each.name, each.reason)
        console.print(failed)
    if model in repository.models():
        console.print(Markdown(repository.card(model)))


@app.command("compare", epilog="Example: pathcast models compare forecaster 3 4")
def compare_models(
    model: str = typer.Argument(..., help="The model's name."),
    versions: list[int] | None = typer.Argument(None, help="Which versions; default: champion and challenger."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Versions side by side: their metrics and what the gates said of them."""
    from rich.console import Console
    from rich.table import Table

    from pathcast.core.errors import InvalidInputError
    from pathcast.core.settings import load_settings
    from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
    from pathcast.registry.verdicts import read_verdicts

    registry = ModelRegistry(load_settings(state_dir).mlflow_tracking_uri)
    known = {entry.version: entry for entry in registry.versions(model)}
    chosen = list(versions or ())
    if not chosen:
        roles = [number for alias in (CHAMPION, CHALLENGER) if (number := registry.alias(model, alias)) is not None]
        chosen = sorted({*roles, *([max(known)] if known else [])})
    absent = [number for number in chosen if number not in known]
    if absent or not chosen:
        raise InvalidInputError(
            f"model {model}: expected registered versions, got {absent or 'none'}; it has {sorted(known) or 'none'}",
            hint="see `pathcast models list`",
        )
    table = Table(title=model)
    table.add_column("")
    for number in chosen:
        table.add_column(" ".join([f"version {number}", *known[number].aliases]), overflow="fold")
    metrics = [registry.metrics(model, number) for number in chosen]
    for name in sorted({name for each in metrics for name in each}):
        table.add_row(name, *(f"{each[name]:.5g}" if name in each else "" for each in metrics))
    table.add_section()
    gates = [{verdict.gate: verdict for verdict in read_verdicts(known[number].tags)} for number in chosen]
    for gate in sorted({gate for each in gates for gate in each}):
        table.add_row(
            f"gate {gate}",
            *(f"{_mark(each[gate].passed)} {each[gate].reason}" if gate in each else "" for each in gates),
        )
    Console().print(table)


@app.command("promote", epilog="Example: pathcast models promote forecaster 4")
def promote_model(
    model: str = typer.Argument(..., help="The model's name."),
    version: int = typer.Argument(..., help="The version that is to serve."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Make a version the champion, without a failed request; refused where a gate has failed."""
    from rich.console import Console

    from pathcast.core.settings import load_settings
    from pathcast.registry.publishing import ModelLifecycle

    settings = load_settings(state_dir)
    with Console(stderr=True).status(f"promoting {model} version {version}"):
        ModelLifecycle(settings).promote(model, version)
    _say(f"{model}: version {version} is the champion and serves", settings, model)


@app.command("rollback", epilog='Example: pathcast models rollback forecaster --reason "errors doubled at the gate"')
def roll_back_model(
    model: str = typer.Argument(..., help="The model's name."),
    reason: str = typer.Option(..., help="Why; kept with the version that is left, which will not serve again."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Return to the version that served before the champion, without a failed request."""
    from rich.console import Console

    from pathcast.core.settings import load_settings
    from pathcast.registry.publishing import ModelLifecycle

    settings = load_settings(state_dir)
    with Console(stderr=True).status(f"rolling {model} back"):
        version = ModelLifecycle(settings).roll_back(model, reason)
    _say(f"{model}: version {version} is the champion again and serves", settings, model)


@app.command("prune", epilog="Example: pathcast models prune forecaster --keep 5")
def prune_models(
    model: str = typer.Argument(..., help="The model's name."),
    keep: int = typer.Option(5, min=1, help="How many of the newest versions stay."),
    state_dir: Path = STATE_DIR,
) -> None:
    """Delete the files of old versions; champion, challenger and the version to roll back to always stay."""
    from pathcast.core.settings import load_settings
    from pathcast.registry.publishing import ModelLifecycle

    settings = load_settings(state_dir)
    gone = ModelLifecycle(settings).prune(model, keep)
    _say(f"{model}: deleted {_numbers(gone) or 'nothing'}", settings, model)


def _say(what: str, settings: PlatformSettings, model: str) -> None:
    """What was done, and how the model stands now."""
    from rich.console import Console

    console = Console()
    console.print(what, markup=False, highlight=False)
    console.print(_standing(settings, [model]))


def _standing(settings: PlatformSettings, models: Sequence[str]) -> Table:
    """How models stand: a row for each."""
    from rich.table import Table

    from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
    from pathcast.serving.triton_client import TritonClient

    repository, registry = _repository(settings), ModelRegistry(settings.mlflow_tracking_uri)
    table = Table()
    for heading in ("model", "versions", CHAMPION, CHALLENGER, "served"):
        table.add_column(heading)
    with TritonClient(settings.triton_grpc) as client:
        for model in models:
            versions = [published.version for published in repository.versions(model)]
            served = [version for version in versions if client.ready(model, str(version))]
            marks = [registry.alias(model, alias) for alias in (CHAMPION, CHALLENGER)]
            table.add_row(
                model, _numbers(versions), *("" if mark is None else str(mark) for mark in marks), _numbers(served)
            )
    return table


def _gates(entry: RegisteredModel) -> str:
    from pathcast.registry.verdicts import read_verdicts

    return "\n".join(f"{_mark(verdict.passed)} {verdict.gate}" for verdict in read_verdicts(entry.tags))


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"


def _repository(settings: PlatformSettings) -> ModelRepository:
    from pathcast.registry.repository import ModelRepository
    from pathcast.storage.object_store import object_store

    return ModelRepository(object_store(settings), settings.models_bucket)


def _numbers(versions: list[int]) -> str:
    return ", ".join(map(str, versions))
