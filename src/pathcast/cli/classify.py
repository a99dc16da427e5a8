"""`pathcast classify IMAGE…`: which traffic sign a picture shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.output_file import file_option, write_json
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.core.arrays import UInt8Array
    from pathcast.serving.classifiers import Classifier

SHIPPED = Path(__file__).parents[3] / "model_repo" / "signs" / "1" / "model.onnx"
"""What comes with the project."""


def classify(
    images: list[Path] = typer.Argument(..., help="Pictures of one sign each, cut out more or less tightly."),
    model: Path | None = typer.Option(None, help="A served-signature ONNX file; default: what comes with the project."),
    triton: bool = typer.Option(False, "--triton", help="Ask the running platform's Triton instead of a file."),
    name: str | None = typer.Option(None, help="With --triton: the served model's name; default: signs."),
    top: int = typer.Option(3, min=1, max=43, help="So many classes of each picture."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="With --triton: the local platform's state."),
    json: Path | None = file_option("Also write the answers to this file."),
) -> None:
    """Name the traffic sign in each picture, with the likeliest classes and their probabilities."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from pathcast.recognition.sign_classes import CLASS_NAMES

    classifier = open_classifier(model, triton, name, state_dir)
    probabilities, version = classifier.classify(np.stack([_read(path, classifier.side) for path in images]))
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    table = Table(title=f"{classifier.model}, version {version}")
    table.add_column("picture")
    table.add_column("sign")
    table.add_column("probability", justify="right")
    answers: list[dict[str, Any]] = []
    for path, row, best in zip(images, probabilities, order.tolist(), strict=True):
        found = [{"class_id": label, "class": CLASS_NAMES[label], "probability": float(row[label])} for label in best]
        answers.append({"image": str(path), **found[0], "top": found})
        for number, each in enumerate(found):
            table.add_row("" if number else str(path), str(each["class"]), f"{each['probability']:.4f}")
        table.add_section()
    Console(emoji=False).print(table)
    if json is not None:
        result = {"model": classifier.model, "model_version": version, "images": answers}
        write_json(json, result)


def open_classifier(model: Path | None, triton: bool, name: str | None, state_dir: Path) -> Classifier:
    """The sign classifier that was asked for; InvalidInputError where it knows another number of classes."""
    from pathcast.core.errors import InvalidInputError
    from pathcast.recognition.sign_classes import CLASS_NAMES
    from pathcast.serving.classifiers import FileClassifier, RemoteClassifier

    if triton and model is not None:
        raise InvalidInputError("--triton and --model: expected one of the two")
    if name and not triton:
        raise InvalidInputError("--name: expected with --triton, which it is for")
    found: Classifier
    if triton:
        from pathcast.core.settings import load_settings
        from pathcast.serving.triton_client import TritonClient

        settings = load_settings(state_dir)
        found = RemoteClassifier(
            TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory), name or "signs"
        )
    else:
        found = FileClassifier(model or SHIPPED)
    if found.classes != len(CLASS_NAMES):
        raise InvalidInputError(
            f"model {found.model}: expected a classifier of {len(CLASS_NAMES)} signs, got {found.classes} classes",
            hint="train one: pathcast train signs --data gtsrb",
        )
    return found


def _read(path: Path, side: int) -> UInt8Array:
    from pathcast.core.errors import InvalidInputError
    from pathcast.core.image_file import decode_image
    from pathcast.recognition.crops import square_crop

    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path}: expected a picture: {error.strerror}") from error
    image = decode_image(encoded)
    if image is None:
        raise InvalidInputError(f"{path}: not a picture that can be read", hint="give PNG, JPEG, BMP, PPM or WebP")
    height, width = image.shape[:2]
    return square_crop(image, (0, 0, width, height), side)
