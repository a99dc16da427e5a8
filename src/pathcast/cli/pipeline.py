"""`pathcast pipeline`: the same pipelines on this machine and on a cluster."""

from __future__ import annotations

import importlib
import json as json_text
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from pathcast.registry.verdicts import Verdict

app = typer.Typer(name="pipeline", no_args_is_help=True, help="Pipelines: compile, run here or on a cluster.")

NAMES = ("train_model",)
PARAMETER = typer.Option([], "--set", help="KEY=VALUE: a parameter of the pipeline; the value is JSON or text.")


@app.command("compile", epilog="Example: pathcast pipeline compile --output compiled")
def compile_pipelines(output: Path = typer.Option(Path("compiled"), help="Folder for NAME.yaml.")) -> None:
    """Write every pipeline as IR YAML, which Kubeflow takes by upload."""
    from kfp import compiler
    from rich.console import Console

    output.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        target = output / f"{name}.yaml"
        compiler.Compiler().compile(load_pipeline(name), str(target))
        Console().print(f"{target}: written", markup=False, highlight=False)


@app.command("run", epilog="Example: pathcast pipeline run train_model --set days=2 --set cameras='[\"gate\"]'")
def run_pipeline(
    name: str = typer.Argument(..., help=f"One of {', '.join(NAMES)}."),
    change: list[str] = PARAMETER,
    host: str | None = typer.Option(None, help="Kubeflow Pipelines' address; without it the run is on this machine."),
    upload: bool = typer.Option(False, help="With --host: store the pipeline, as a new version, and do not run it."),
    schedule: str | None = typer.Option(None, help="With --host: run it by this cron expression, in six fields."),
    state_dir: Path = typer.Option(STATE_DIR, help="The local platform's state, to find its servers."),
    json: Path | None = typer.Option(None, help="Also write the outcome to this file."),
) -> None:
    """Run a pipeline: here, on the local platform's servers, or on a cluster.

    Here every step is a process of its own, in this environment; the exit code is 1 where the run failed, and 0
    where it ended as it should, also where a gate kept the champion.
    """
    parameters = _parameters(change)
    pipeline = load_pipeline(name)
    known = sorted(pipeline.component_spec.inputs)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InvalidInputError(f"{name}: no parameter {', '.join(unknown)}; expected one of {', '.join(known)}")
    if host is not None:
        _run_on_cluster(pipeline, name, parameters, host, upload, schedule)
    elif upload or schedule:
        raise InvalidInputError("--upload and --schedule need --host", hint="give Kubeflow Pipelines' address")
    else:
        _run_here(pipeline, name, parameters, state_dir, json)


def _run_here(pipeline: Any, name: str, parameters: Mapping[str, Any], state_dir: Path, json: Path | None) -> None:
    import time

    from kfp import local
    from rich.console import Console

    from pathcast.core.settings import load_settings
    from pathcast.local.environment import settings_variables
    from pathcast.registry.publishing import ModelLifecycle
    from pathcast.training.family import find_family

    settings = load_settings(state_dir)
    # The steps are processes that read their settings once, as every service does.
    os.environ.update(settings_variables(settings))
    started = time.monotonic()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(state_dir.absolute() / "pipelines"),
    )
    family = str(parameters.get("family", "forecaster"))
    model, lifecycle = find_family(family).name, ModelLifecycle(settings)
    before = lifecycle.champion(model)
    newest = lifecycle.newest(model)
    try:
        pipeline(**parameters)
        succeeded = True
    except RuntimeError:  # a step failed; its lines are above, and the last step has cleaned up
        succeeded = False
    version = lifecycle.newest(model)
    verdicts = [] if version in (None, newest) else lifecycle.verdicts(model, version)
    outcome = {
        "pipeline": name,
        "succeeded": succeeded,
        "duration_s": round(time.monotonic() - started, 1),
        "model": model,
        "version": None if version == newest else version,
        "champion_before": before,
        "champion": lifecycle.champion(model),
        "gates": {verdict.gate: {"passed": verdict.passed, "reason": verdict.reason} for verdict in verdicts},
    }
    _show(outcome, verdicts)
    if json is not None:
        json.write_text(json_text.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    if not succeeded:
        Console(stderr=True).print(f"{name}: a step failed; see its lines above", style="red")
        raise typer.Exit(1)


def _show(outcome: Mapping[str, Any], verdicts: list[Verdict]) -> None:
    from rich.console import Console
    from rich.table import Table

    new = outcome["version"]
    table = Table(
        title=f"{outcome['pipeline']}: {outcome['model']} " + (f"version {new}" if new else "without a version")
    )
    table.add_column("gate")
    table.add_column("passed")
    table.add_column("why", overflow="fold")
    for verdict in verdicts:
        table.add_row(verdict.gate, "✓" if verdict.passed else "✗", verdict.reason)
    console = Console()
    console.print(table)
    before, after = outcome["champion_before"], outcome["champion"]
    change = f"is still version {after}" if before == after else f"was version {before}, is now version {after}"
    console.print(f"the champion {change}; {outcome['duration_s']:.0f} s in all", markup=False, highlight=False)


def _run_on_cluster(
    pipeline: Any, name: str, parameters: Mapping[str, Any], host: str, upload: bool, schedule: str | None
) -> None:
    import tempfile

    from kfp import Client, compiler
    from rich.console import Console

    console = Console()
    client = Client(host=host)
    with tempfile.TemporaryDirectory() as folder:
        package = str(Path(folder) / f"{name}.yaml")
        compiler.Compiler().compile(pipeline, package)
        if upload:
            known = client.get_pipeline_id(name.replace("_", "-"))
            if known is None:
                client.upload_pipeline(package, pipeline_name=name.replace("_", "-"))
            else:
                client.upload_pipeline_version(package, pipeline_version_name=_moment(), pipeline_id=known)
            console.print(f"{name}: stored at {host}", markup=False, highlight=False)
            return
        experiment = client.create_experiment(f"pathcast-{name.replace('_', '-')}")
        if schedule is not None:
            client.create_recurring_run(
                experiment_id=experiment.experiment_id,
                job_name=name.replace("_", "-"),
                cron_expression=schedule,
                max_concurrency=1,
                pipeline_package_path=package,
                params=dict(parameters),
            )
            console.print(f"{name}: runs by {schedule!r} at {host}", markup=False, highlight=False)
            return
        run = client.create_run_from_pipeline_package(
            package, arguments=dict(parameters), experiment_id=experiment.experiment_id
        )
        console.print(f"{name}: run {run.run_id} started at {host}", markup=False, highlight=False)


def load_pipeline(name: str) -> Any:
    """The pipeline function; pipelines lie beside the package, in the checkout and in the training image."""
    if name not in NAMES:
        raise InvalidInputError(f"pipeline {name!r}: expected one of {', '.join(NAMES)}")
    try:
        return getattr(importlib.import_module(f"pipelines.{name}"), name)
    except ModuleNotFoundError as error:
        raise PathcastError(
            f"pipeline {name}: {error}", hint="run it in the checkout, with the extra `pipelines` installed"
        ) from error


def _parameters(texts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise InvalidInputError(f"--set {text}: expected KEY=VALUE")
        try:
            found[key] = json_text.loads(value)
        except ValueError:
            found[key] = value
    return found


def _moment() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
