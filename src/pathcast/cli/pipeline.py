"""`pathcast pipeline`: the same pipelines on this machine and on a cluster."""

from __future__ import annotations

import importlib
import json as json_text
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pathcast.cli.output_file import file_option, write_json
from pathcast.cli.pipeline_host import PipelineHost
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.settings import STATE_DIR

app = typer.Typer(name="pipeline", no_args_is_help=True, help="Pipelines: compile, run here or on a cluster.")

NAMES = ("train_model", "continuous_training", "tune", "batch_inference", "label_archive")
MAKE_MODELS = ("train_model", "continuous_training")
"""Those whose outcome is a version of a model and what the gates said of it; of the others it is what they return."""

PARAMETER = typer.Option([], "--set", help="KEY=VALUE: a parameter of the pipeline; the value is JSON or text.")


@app.command("compile", epilog="Example: pathcast pipeline compile --output compiled")
def compile_pipelines(
    output: Path = typer.Option(Path("compiled"), file_okay=False, help="Folder for NAME.yaml."),
) -> None:
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
    namespace: str | None = typer.Option(None, help="With --host: the namespace, where Kubeflow has several users."),
    account: str | None = typer.Option(
        None, envvar="KFP_ACCOUNT", help="With --host: the service account of the steps."
    ),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="The local platform's state, to find its servers."),
    json: Path | None = file_option("Also write the outcome to this file."),
) -> None:
    """Run a pipeline: here, on the local platform's servers, or on a cluster.

    Here every step is a process of its own, in this environment; the exit code is 1 where the run failed, and 0
    where it ended as it should, also where a gate kept the champion. With --host a token is taken from KFP_TOKEN.
    """
    from rich.console import Console

    if host is None:
        if upload or schedule or namespace:
            raise InvalidInputError(
                "--upload, --schedule and --namespace need --host", hint="give Kubeflow Pipelines' address"
            )
        run_here(name, change, state_dir, json)
        return
    place = PipelineHost(host, os.environ.get("KFP_TOKEN"), namespace, account)
    done = place.upload(load_pipeline(name), name) if upload else run_at(place, name, change, schedule)
    Console().print(done, markup=False, highlight=False)


def run_at(place: PipelineHost, name: str, change: Sequence[str], schedule: str | None = None) -> str:
    """Start a pipeline at Kubeflow with `change` (KEY=VALUE texts), or let it run by a schedule; what was done."""
    pipeline = load_pipeline(name)
    parameters = read_parameters(pipeline, name, change)
    if schedule is not None:
        return place.schedule(pipeline, name, parameters, schedule)
    return place.run(pipeline, name, parameters)


def run_here(name: str, change: Sequence[str], state_dir: Path, json: Path | None = None) -> None:
    """Run a pipeline with `change` (KEY=VALUE texts) on this machine and print its outcome; typer.Exit on failure."""
    import time

    from kfp import local
    from rich.console import Console

    from pathcast.cli.pipeline_log import runner_log
    from pathcast.cli.pipeline_outcome import ModelOutcome, ResultOutcome
    from pathcast.core.settings import load_settings
    from pathcast.local.environment import settings_variables

    pipeline = load_pipeline(name)
    parameters = read_parameters(pipeline, name, change)
    settings = load_settings(state_dir)
    # The steps are processes that read their settings once, as every service does.
    os.environ.update(settings_variables(settings))
    started = time.monotonic()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(state_dir.absolute() / "pipelines"),
    )
    drop_retries(pipeline.component_spec.implementation.graph)
    watched = ModelOutcome(settings, str(parameters.get("family", "forecaster"))) if name in MAKE_MODELS else None
    console = Console()
    with runner_log(state_dir / "pipelines", name, console) as log:
        try:
            returned, succeeded = pipeline(**parameters).outputs, True
        except RuntimeError:  # a step failed; the end of its lines is shown, and the last step has cleaned up
            returned, succeeded = {}, False
    outcome = watched or ResultOutcome(returned)
    facts = {
        "pipeline": name,
        "succeeded": succeeded,
        "duration_s": round(time.monotonic() - started, 1),
        **outcome.facts(),
    }
    if succeeded or watched is not None:
        outcome.show(console, facts)
    write_json(json, facts)
    if not succeeded:
        Console(stderr=True).print(f"{name}: a step failed; all lines are in {log}", style="red", highlight=False)
        raise typer.Exit(1)


def drop_retries(spec: Any) -> None:
    """Let a step of the compiled pipeline fail at once: here no node goes away, and a second try fails as the first."""
    for component in (spec.root, *spec.components.values()):
        for task in component.dag.tasks.values():
            task.ClearField("retry_policy")


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


def read_parameters(pipeline: Any, name: str, texts: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE texts as the pipeline's inputs; all that have no default must be among them.

    Raises InvalidInputError on an unknown name, a value of another type, and where one is missing.
    """
    inputs = pipeline.component_spec.inputs or {}
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise InvalidInputError(f"--set {text}: expected KEY=VALUE")
        if key not in inputs:
            raise InvalidInputError(f"{name}: no parameter {key}; expected one of {', '.join(sorted(inputs))}")
        found[key] = _typed(f"--set {text}", inputs[key].type, value)
    missing = sorted(key for key, spec in inputs.items() if not spec.optional and key not in found)
    if missing:
        raise InvalidInputError(f"{name}: expected --set {missing[0]}=VALUE; it has no default")
    return found


_KINDS: Mapping[str, tuple[type, ...]] = {
    "Boolean": (bool,),
    "Integer": (int,),
    "Float": (float, int),
    "List": (list,),
    "Dict": (dict,),
}


def _typed(what: str, kind: str, text: str) -> Any:
    """A value of the pipeline's type `kind` from its text: JSON, or the text itself for one that is text."""
    if kind == "String":
        return text
    try:
        value: Any = json_text.loads(text)
    except ValueError:
        value = text
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "Boolean"):
        raise InvalidInputError(f"{what}: expected a value of type {kind.lower()}, as JSON")
    return float(text) if kind == "Float" else value
