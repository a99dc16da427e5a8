"""`pathcast demo`: the whole platform on a real video."""

from __future__ import annotations

from pathlib import Path

import typer

from pathcast.cli.output_file import file_option, write_json
from pathcast.core.settings import STATE_DIR


def demo(
    video: Path | None = typer.Option(None, help="A video of your own instead of the demo's clip."),
    camera_file: Path | None = typer.Option(None, help="Camera id, frame rate and calibration of --video (TOML)."),
    detector: Path | None = typer.Option(
        None,
        help="A YOLOX ONNX file to import as the detector; else yolox_nano.onnx of the data, else the shipped one.",
    ),
    state_dir: Path = typer.Option(
        STATE_DIR, file_okay=False, help="Where the platform keeps its state, and the report goes."
    ),
    keep_running: bool = typer.Option(False, help="Leave the platform running at the end."),
    json: Path | None = file_option("Also write the figures to this file."),
) -> None:
    """Video in; tracks, predicted paths and their measured error out, through the real servers.

    Streams 60% of the clip, trains the forecaster on the tracks just stored, serves it, and streams the rest.
    """
    from rich.console import Console

    from pathcast.core.clock import SystemClock
    from pathcast.local.demo.clip import data_dir
    from pathcast.local.demo.run import DemoOptions, run_demo

    console = Console()
    options = DemoOptions(state_dir, data_dir(), video, camera_file, detector, keep_running)
    result = run_demo(options, console, SystemClock())
    console.print(result.table())
    console.print(f"report: {state_dir / 'demo' / 'report.html'}")
    write_json(json, result.as_json())
