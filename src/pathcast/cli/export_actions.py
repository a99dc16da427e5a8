"""`pathcast export actions`: a trained action recogniser as the ensemble that Triton serves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from pathcast.cli.export import app
from pathcast.cli.output_file import file_option, write_json


@app.command("actions", epilog="Example: pathcast export actions --model actions --data actions/data --output repo")
def export_actions(
    model: Path = typer.Option(..., help="Folder that `pathcast train actions --output` wrote."),
    data: Path = typer.Option(..., help="The prepared folder: clips of its validation part are compared."),
    output: Path = typer.Option(
        Path("model_repo"), file_okay=False, help="A model repository: it gets three models' folders."
    ),
    fp16_on_gpu: bool = typer.Option(False, help="Ask servers with a GPU to recognise in FP16 (TensorRT)."),
    int8_output: Path | None = typer.Option(
        None, file_okay=False, help="Also a repository in eight bits, if accuracy stays."
    ),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Export to ONNX and compare with the network on real clips before anything is written.

    `actions` joins `frame_selector` and `action_recogniser`. In eight bits, the scales come from training clips; more
    than 2 points of balanced accuracy lost on the clips that it did not learn from (val and test) is refused.
    """
    import numpy as np

    from pathcast.core.trained_model import TrainedModel
    from pathcast.recognition.clip_splits import PARTS
    from pathcast.recognition.clip_store import read_clips
    from pathcast.training.backend import use_tensorflow
    from pathcast.training.family import find_family
    from pathcast.training.prepared import open_prepared

    trained, family = TrainedModel.load(model, "actions"), find_family("actions")
    folder = open_prepared(data, family).folder
    use_tensorflow()
    from pathcast.export.actions import ask_fp16, quantise_actions
    from pathcast.export.ensemble import ONNX_FILE
    from pathcast.training.network import assign_weights

    network = family.build(trained.settings)
    assign_weights(network, trained.weights)
    figures: dict[str, Any] = dict(family.export(network, folder, output / family.name))
    if fp16_on_gpu:
        ask_fp16(output / family.name)
    _parts_beside(output / family.name)
    console = Console(emoji=False)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in figures.items())
    console.print(f"{output / family.name}: parity, {differences}", markup=False, highlight=False)
    if int8_output is not None:
        # Of the few of one part each counts for more than what may be lost.
        train, *others = (read_clips(folder, part) for part in PARTS)
        small = quantise_actions(
            output / family.name / ONNX_FILE,
            int8_output / family.name,
            train.frames,
            np.concatenate([part.frames for part in others]),
            np.concatenate([part.labels for part in others]),
        )
        _parts_beside(int8_output / family.name)
        figures["int8"] = dict(small)
        console.print(
            f"{int8_output / family.name}: balanced accuracy {small['balanced_accuracy']:.2%} (float32 "
            f"{small['balanced_accuracy_float32']:.2%}) on the clips that it did not learn from",
            markup=False,
            highlight=False,
        )
    write_json(json, figures)


def _parts_beside(folder: Path) -> None:
    """Move the ensemble's parts from within its folder to beside it, where a server finds them."""
    from pathcast.export.ensemble import CONFIG, part_names

    for name in part_names((folder / CONFIG).read_text(encoding="utf-8")):
        beside = folder.parent / name
        shutil.copytree(folder / name, beside, dirs_exist_ok=True)
        shutil.rmtree(folder / name)
