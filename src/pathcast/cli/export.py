"""`pathcast export FAMILY`: trained models as files that Triton serves."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from pathcast.cli.output_file import file_option, write_json

app = typer.Typer(name="export", no_args_is_help=True, help="Write a trained model as ONNX, checked.")


@app.callback()
def export() -> None:
    """Write a trained model as ONNX, checked."""


@app.command("forecaster", epilog="Example: pathcast export forecaster --model forecaster --data eth_ucy")
def export_forecaster(
    output: Path = typer.Option(
        Path("model_repo/forecaster"), file_okay=False, help="Model folder: config.pbtxt and VERSION/model.onnx."
    ),
    version: int = typer.Option(1, min=1, help="The version's number."),
    model: Path | None = typer.Option(None, help="Folder of a trained forecaster; default: the one that ships."),
    data: Path | None = typer.Option(None, help="Folder in the ETH/UCY layout for the parity check; default: walks."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Export to ONNX and compare with the network on real windows before anything is written."""
    from pathcast.forecasting.eth_ucy import SCENES, read_test
    from pathcast.forecasting.trained import TrainedForecaster, shipped_forecaster
    from pathcast.forecasting.windows import concatenate
    from pathcast.training.backend import use_tensorflow

    trained = shipped_forecaster() if model is None else TrainedForecaster.load(model)
    windows = None if data is None else concatenate([read_test(data, scene) for scene in SCENES])
    use_tensorflow()
    from pathcast.export.forecaster import write_forecaster

    exported = write_forecaster(trained, output, version, windows=windows)
    differences = exported.parity.differences
    Console().print(
        f"{exported.onnx_path}: parity over {exported.parity.samples} windows, paths {differences['paths']:.1e} m, "
        f"log_probs {differences['log_probs']:.1e}"
    )
    if json is not None:
        figures = {
            "windows": exported.parity.samples,
            "paths_difference_m": differences["paths"],
            "log_probs_difference_nats": differences["log_probs"],
        }
        write_json(json, figures)


@app.command("mot", epilog="Example: pathcast export mot --output model_repo/mot")
def export_mot(
    output: Path = typer.Option(Path("model_repo/mot"), file_okay=False, help="Model folder in a repository."),
) -> None:
    """Write the endpoint for clients that stream frames, for Triton servers with Pathcast installed."""
    from pathcast.registry.mot import write_mot

    write_mot(output)
    Console().print(f"{output}: written", markup=False, highlight=False)
