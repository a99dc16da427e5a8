"""Entry point of the `pathcast` command."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

import typer
from rich.console import Console

from pathcast import __version__
from pathcast.cli import (  # noqa: F401 - importing bench_* and evaluate_* adds their commands
    act,
    batch,
    bench,
    bench_actions,
    bench_batch,
    bench_detector,
    bench_drift,
    bench_forecaster,
    bench_mot,
    bench_signs,
    bench_tracker,
    bench_training,
    camera,
    classify,
    data,
    demo,
    drift,
    evaluate,
    evaluate_actions,
    evaluate_forecaster,
    evaluate_signs,
    evaluate_tracker,
    export,
    export_actions,
    export_detector,
    export_signs,
    label,
    models,
    pipeline,
    platform,
    replay,
    scores,
    stream,
    train,
    tune,
)
from pathcast.core.errors import PathcastError

app = typer.Typer(
    name="pathcast",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Camera frames to detections, tracks and predicted paths, with models that keep themselves right."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


app.add_typer(bench.app)
app.add_typer(data.app)
app.add_typer(evaluate.app)
app.add_typer(export.app)
app.add_typer(models.app)
app.add_typer(pipeline.app)
platform.register(app)
app.command(epilog="Example: pathcast act entrance.mp4 --json actions.json")(act.act)
app.command(epilog="Example: pathcast batch gate.mp4 --out gate --detector detector/1/model.onnx")(batch.batch)
app.command(epilog="Example: pathcast camera gate.toml yard.toml")(camera.camera)
app.command(epilog="Example: pathcast classify sign.png other.jpg --json signs.json")(classify.classify)
app.command(epilog="Example: pathcast demo --video gate.mp4 --json demo.json")(demo.demo)
app.command(epilog="Example: pathcast drift --family forecaster --camera gate-1 --report drift.html")(drift.drift)
app.command(epilog="Example: pathcast label gate.mp4 --teacher detector/1/model.onnx --output labels")(label.label)
app.command(epilog="Example: pathcast train forecaster --data eth_ucy --workers 2 --output forecaster")(train.train)
app.command(epilog="Example: pathcast tune forecaster --data eth_ucy --trials 30 --parallel 2 --yes")(tune.tune)
app.command(epilog="Example: pathcast stream gate.mp4 --camera gate-1 --fps 7")(stream.stream)
app.command(epilog="Example: pathcast replay --camera gate --model forecaster --version 4 --json replay.json")(
    replay.replay
)
app.command(epilog="Example: pathcast scores --hours 6 --by camera --by hour --json scores.json")(scores.scores)


_NO_PLACE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What an operating system says of a place where nothing can be written, or that may not be read."""


def main() -> None:
    """Run the command line; exit 0 done, 1 the work failed, 2 wrong usage."""
    try:
        app()
    except PathcastError as error:
        _end(error)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        where = error.filename or "a file"
        _end(PathcastError(f"{where}: {error.strerror}", hint="check permissions and free space"))
    except KeyboardInterrupt:
        sys.exit(130)


def _end(error: PathcastError) -> NoReturn:
    Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False)
    sys.exit(1)
