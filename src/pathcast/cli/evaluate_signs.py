"""`pathcast evaluate signs`: how good a sign classifier is on GTSRB's test pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.evaluate import app
from pathcast.cli.output_file import file_option
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.core.arrays import Int64Array, UInt8Array


@app.command("signs", epilog="Example: pathcast evaluate signs --data gtsrb --plots plots --json signs.json")
def evaluate_signs(
    data: Path = typer.Option(..., help="GTSRB in its official layout, an archive of it, or a prepared folder."),
    part: str = typer.Option("test", help="Of a prepared folder: test, or val, the tracks that chose the epoch."),
    model: Path | None = typer.Option(None, help="A served-signature ONNX file; default: what comes with the project."),
    triton: bool = typer.Option(False, "--triton", help="Ask the running platform's Triton instead of a file."),
    name: str | None = typer.Option(None, help="With --triton: the served model's name; default: signs."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="With --triton: the local platform's state."),
    plots: Path | None = typer.Option(None, file_okay=False, help="Folder for the picture of the confusion matrix."),
    json: Path | None = file_option("Also write the scores to this file."),
) -> None:
    """Score a sign classifier: accuracy with its confidence interval, by class, and calibration.

    The rate is that of the model alone, in requests of 16 pictures.
    """
    import time

    from pathcast.cli.classify import open_classifier
    from pathcast.cli.recognition_report import report
    from pathcast.recognition.classification import score
    from pathcast.recognition.sign_classes import CLASS_NAMES

    classifier = open_classifier(model, triton, name, state_dir)
    images, labels = read_part(data, part)
    classifier.classify(images[:1])
    started = time.perf_counter()
    probabilities, version = classifier.classify(images)
    rate = len(images) / (time.perf_counter() - started)
    scores = score(probabilities, labels, CLASS_NAMES)
    about = {"model": classifier.model, "model_version": version}
    report(f"signs, {classifier.model} {version} on {data}", scores, rate, json, plots, about)


def read_part(data: Path, part: str) -> tuple[UInt8Array, Int64Array]:
    """Images (n, 48, 48, 3) and labels of the test set at `data`, or of a part of a prepared folder."""
    import numpy as np

    from pathcast.core.errors import InvalidInputError
    from pathcast.recognition.gtsrb import read_gtsrb
    from pathcast.recognition.sign_augmentation import centre
    from pathcast.recognition.sign_settings import SIDE
    from pathcast.training.family import find_family
    from pathcast.training.prepared import is_prepared, open_prepared
    from pathcast.training.signs_data import PARTS, read_signs

    if part not in PARTS:
        raise InvalidInputError(f"--part {part}: expected one of {', '.join(PARTS)}")
    if is_prepared(data):
        signs = read_signs(open_prepared(data, find_family("signs")).folder, part)
        return centre(signs.images), signs.labels
    if part != "test":
        raise InvalidInputError(f"--part {part}: {data} is raw data; give the folder that was prepared from it")
    if not data.exists():
        raise InvalidInputError(f"{data}: no such file or folder")
    found = read_gtsrb(data)
    if not found.test:
        raise InvalidInputError(f"{data}: expected test pictures with GT-final_test.csv, found none")
    return np.stack([found.crop(row, SIDE, 0) for row in found.test]), np.array([row.label for row in found.test])
