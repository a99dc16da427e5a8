"""`pathcast bench forecaster`: the time of one request, in this process and through Triton."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pathcast.cli.bench import Row, app, report
from pathcast.cli.output_file import file_option

if TYPE_CHECKING:
    from pathcast.core.arrays import Float32Array

    Inputs = dict[str, Float32Array]

_AGENTS = (1, 100, 1000)
_WARM_UP = 3


@app.command("forecaster", epilog="Example: pathcast bench forecaster --triton --json forecaster.json")
def bench_forecaster(
    model: Path = typer.Option(Path("model_repo/forecaster/1/model.onnx"), help="The exported file."),
    rounds: int = typer.Option(30, min=1, help="Requests of each kind; the median and the fastest count."),
    triton: bool = typer.Option(False, "--triton", help="Also through the running platform's Triton."),
    name: str | None = typer.Option(None, help="With --triton: the served model's name; default: forecaster."),
    state_dir: Path = typer.Option(
        Path(".pathcast"), file_okay=False, help="With --triton: the local platform's state."
    ),
    json: Path | None = file_option("Write the figures to this file."),
) -> None:
    """Milliseconds a request of 1, 100 and 1,000 agents: onnxruntime on one thread, and Triton over gRPC."""
    from rich.console import Console
    from rich.progress import Progress

    from pathcast.core.errors import InvalidInputError
    from pathcast.forecasting.walks import random_walks
    from pathcast.serving.local_models import FileForecaster

    if name and not triton:
        raise InvalidInputError("--name: expected with --triton, which it is for")
    if not model.is_file():
        raise InvalidInputError(f"model {model}: no such file", hint="pathcast export forecaster writes one")
    forecaster = FileForecaster(model)
    runs: dict[str, Callable[[Inputs], object]] = {"onnxruntime": lambda inputs: forecaster.forecast(**inputs)}
    if triton:
        runs["Triton"] = _through_triton(name or "forecaster", state_dir)
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("forecasting", total=len(_AGENTS) * rounds)
        for agents in _AGENTS:
            inputs = random_walks(agents, seed=agents)
            spent: dict[str, list[float]] = {way: [] for way in runs}
            for turn in range(_WARM_UP + rounds):
                for way, run in runs.items():
                    milliseconds = _timed(run, inputs)
                    if turn >= _WARM_UP:
                        spent[way].append(milliseconds)
                progress.update(task, completed=len(rows) + turn)
            rows += _rows(agents, spent)
    report(f"forecaster, {model}", rows, json)


def _timed(run: Callable[[Inputs], object], inputs: Inputs) -> float:
    import time

    started = time.perf_counter()
    run(inputs)
    return 1000 * (time.perf_counter() - started)


def _rows(agents: int, spent: dict[str, list[float]]) -> list[Row]:
    """Median and fastest of each way; the other ways beside the first."""
    from statistics import median

    rows: list[Row] = []
    first = next(iter(spent))
    for kind, of in (("median", median), ("fastest", min)):
        base = of(spent[first])
        for way, times in spent.items():
            beside = None if way == first else f"{first}, {agents} agents, {kind}"
            value = of(times)
            rows.append(
                Row(f"{way}, {agents} agents, {kind}", value, "ms", beside, None if beside is None else value / base)
            )
    return rows


def _through_triton(name: str, state_dir: Path) -> Callable[[Inputs], object]:
    from pathcast.core.settings import load_settings
    from pathcast.serving.remote_models import require_fit
    from pathcast.serving.triton_client import TritonClient

    settings = load_settings(state_dir)
    client = TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory)
    require_fit(client, "forecaster", name)
    return lambda inputs: client.infer(name, inputs)
