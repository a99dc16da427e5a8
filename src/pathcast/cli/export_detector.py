"""`pathcast export detector`: a trained detector as the file that Triton serves, in float32 or in eight bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from pathcast.cli.export import app
from pathcast.cli.output_file import file_option, write_json


@app.command(
    "detector", epilog="Example: pathcast export detector --model detector --data detector/data --int8-output int8"
)
def export_detector(
    model: Path = typer.Option(..., help="Folder that `pathcast train detector --output` wrote."),
    data: Path = typer.Option(..., help="The prepared folder: its validation part is compared, frame by frame."),
    output: Path = typer.Option(
        Path("model_repo/detector"), file_okay=False, help="Model folder: config.pbtxt and VERSION/model.onnx."
    ),
    version: int = typer.Option(1, min=1, help="The version's number."),
    fp16_on_gpu: bool = typer.Option(False, help="Ask servers with a GPU to compute in FP16 (TensorRT)."),
    int8_output: Path | None = typer.Option(
        None, file_okay=False, help="Also a model folder in eight bits, if precision stays."
    ),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Export to ONNX and compare with the network on real frames before anything is written.

    In eight bits, the scales come from training frames; more than a point of average precision lost on the
    validation frames is refused, after the figures are written.
    """
    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.detector_data import read_prepared

    trained = TrainedModel.load(model, "detector")
    validation = read_prepared(data, "val")
    use_tensorflow()
    from pathcast.export.detector import write_config, write_detector
    from pathcast.export.onnx_file import save_onnx
    from pathcast.export.quantize import quantise_detector
    from pathcast.training.detector import build
    from pathcast.training.network import assign_weights

    network = build(trained.settings)
    assign_weights(network, trained.weights)
    console = Console()
    precision = "FP16" if fp16_on_gpu else "FP32"
    figures: dict[str, Any] = {
        "frames": len(validation),
        **write_detector(network, validation, output, version, gpu_precision=precision),
    }
    path = output / str(version) / "model.onnx"
    console.print(
        f"{path}: parity over {len(validation)} frames, boxes {figures['box_difference_px']:.1e} px, scores "
        f"{figures['score_difference']:.1e}, AP50 {figures.get('map50_difference', 0):.1e}",
        markup=False,
        highlight=False,
    )
    small = None if int8_output is None else quantise_detector(path, read_prepared(data, "train"), validation)
    if small is not None:
        figures["int8"] = dict(small.figures())
        console.print(
            f"in eight bits: AP50 {small.map50:.3f} (float32 {small.map50_before:.3f}), AP50-95 {small.map50_95:.3f} "
            f"({small.map50_95_before:.3f}), {small.ms:.1f} ms ({small.ms_before:.1f}) on one thread",
            markup=False,
            highlight=False,
        )
    write_json(json, figures)
    if small is not None and int8_output is not None:
        small.require_accepted()
        target = int8_output / str(version) / "model.onnx"
        save_onnx(small.model, target)
        write_config(int8_output, target)
        console.print(f"{target}: written", markup=False, highlight=False)
