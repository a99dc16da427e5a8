"""`pathcast export signs`: a trained sign classifier as the file that Triton serves, in float32 or in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from pathcast.cli.export import app
from pathcast.cli.output_file import file_option, write_json


@app.command("signs", epilog="Example: pathcast export signs --model signs --data signs/data --int8-output int8")
def export_signs(
    model: Path = typer.Option(..., help="Folder that `pathcast train signs --output` wrote."),
    data: Path = typer.Option(..., help="The prepared folder: its validation part is compared, image by image."),
    output: Path = typer.Option(
        Path("model_repo/signs"), file_okay=False, help="Model folder: config.pbtxt and VERSION/model.onnx."
    ),
    version: int = typer.Option(1, min=1, help="The version's number."),
    int8_output: Path | None = typer.Option(
        None, file_okay=False, help="Also a model folder in eight bits, if accuracy stays."
    ),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Export to ONNX and compare with the network on real images before anything is written.

    In eight bits, the scales come from training images; more than .2 points of accuracy lost on the validation
    tracks is refused.
    """
    from pathcast.core.trained_model import TrainedModel
    from pathcast.recognition.sign_augmentation import centre
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.family import find_family
    from pathcast.training.prepared import open_prepared
    from pathcast.training.signs_data import read_signs

    trained = TrainedModel.load(model, "signs")
    folder = open_prepared(data, find_family("signs")).folder
    use_tensorflow()
    from pathcast.export.signs import quantise_signs, write_signs
    from pathcast.training.network import assign_weights
    from pathcast.training.signs import build

    network = build(trained.settings)
    assign_weights(network, trained.weights)
    validation = read_signs(folder, "val")
    images = centre(validation.images)
    figures: dict[str, Any] = {"images": len(images), **write_signs(network, images, output, version)}
    path = output / str(version) / "model.onnx"
    console = Console(emoji=False)
    console.print(
        f"{path}: parity over {len(images)} images, probabilities {figures['probabilities']:.1e}",
        markup=False,
        highlight=False,
    )
    if int8_output is not None:
        calibration = centre(read_signs(folder, "train").images)
        small = quantise_signs(path, int8_output, calibration, images, validation.labels, version)
        figures["int8"] = dict(small)
        console.print(
            f"{int8_output / str(version) / 'model.onnx'}: accuracy {small['accuracy']:.2%} (float32 "
            f"{small['accuracy_float32']:.2%}) on the validation tracks",
            markup=False,
            highlight=False,
        )
    write_json(json, figures)
