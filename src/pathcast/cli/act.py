"""`pathcast act VIDEO`: what people do in a video, over time."""

from __future__ import annotations

from pathlib import Path

import typer

from pathcast.cli.output_file import file_option, write_json

SHIPPED = Path(__file__).parents[3] / "model_repo" / "actions" / "1" / "model.onnx"
"""What comes with the project."""


def act(
    video: Path = typer.Argument(..., help="A video file, or a folder of images."),
    model: Path | None = typer.Option(
        None, help="A served file beside its config.pbtxt; default: what comes with the project."
    ),
    step: float = typer.Option(1.0, min=0.05, help="Seconds from one window to the next."),
    fps: float | None = typer.Option(None, help="Frames per second, where the file does not say or is wrong."),
    threads: int = typer.Option(1, min=1, help="CPU threads."),
    json: Path | None = file_option("Write the windows to this file."),
) -> None:
    """Print which action is seen when, and by which frames.

    The video is cut into windows as long as the clips that the model has learned from. A window is given the likeliest
    of the model's actions, also where it shows none of them.
    """
    import time

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from pathcast.serving.action_model import ActionFile, actions_over_time
    from pathcast.serving.batch.videos import open_video

    model = model or SHIPPED
    opened, recogniser = open_video(video, fps), ActionFile(model, threads)
    table = Table()
    for heading in ("seconds", "action", "probability", "told by the frames at"):
        table.add_column(heading, justify="left" if heading == "action" else "right")
    windows, started = [], time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("watching", total=opened.expected or None)
        for window in actions_over_time(
            opened.frames(),
            opened.frames_per_second,
            recogniser,
            step_s=step,
            name=str(video),
            on_frame=lambda: progress.advance(task),
        ):
            likeliest = int(window.probabilities.argmax())
            name, share = recogniser.classes[likeliest], float(window.probabilities[likeliest])
            told = ", ".join(f"{second:.1f}" for second in window.selected_s)
            table.add_row(f"{window.start_s:.1f} to {window.end_s:.1f}", name, f"{share:.2f}", told)
            named = dict(zip(recogniser.classes, map(float, window.probabilities), strict=True))
            windows.append(
                {
                    "start_s": window.start_s,
                    "end_s": window.end_s,
                    "action": name,
                    "probabilities": named,
                    "told_by_s": window.selected_s,
                }
            )
    seconds = time.perf_counter() - started
    console = Console(emoji=False)
    console.print(table)
    console.print(f"{len(windows)} windows of {recogniser.window_s:g} s in {seconds:.1f} s", highlight=False)
    if json is not None:
        measured = {"video": str(video), "model": str(model), "seconds": seconds, "windows": windows}
        write_json(json, measured)
