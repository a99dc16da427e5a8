"""Brings a build to a cluster and back: `python -m deployments.release COMMAND`.

`make` and Jenkins call these. Which cluster, KUBECONFIG or KFP_ENDPOINT says; images go by the digests that
`make push` wrote, so what was scanned is what runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from deployments.images.build import DIGESTS, IMAGES, PROJECT, image_reference
from pathcast.cli.pipeline_host import TRAIN_IMAGE, connect, host_errors, shown_name, store
from pathcast.core.errors import InvalidInputError, PathcastError

if TYPE_CHECKING:
    import kfp

RELEASE = "pathcast"
CHART = PROJECT / "helm" / "pathcast"
DEPLOYMENTS = PROJECT / "deployments"
OVERLAYS = PROJECT / "build" / "deployments"
PIPELINES = PROJECT / "build" / "pipelines"
RETRAIN = "continuous_training"
"""The pipeline that a change of the training code starts; `force`, since no drift has to be waited for."""

TRAINING_CODE = (
    *("src/pathcast/training", "src/pathcast/detection", "src/pathcast/forecasting", "src/pathcast/recognition"),
    *("src/pathcast/export", "components", "pipelines", "requirements.lock"),
)
"""What a trained model comes from; a change of it is worth a training run."""

_EXPERIMENT = "retrain"
_COMMIT_OF_RUN = re.compile(r"-([0-9a-f]{12})$")
_PAGE = 50

TAKE_OVER = ("--force-conflicts",)
"""What people have set by hand, such as `kubectl scale`, is set anew; else the server refuses the whole release."""

_VALUES = {"image": "pathcast-stream", "trainImage": "pathcast-train"}

_console = Console(stderr=True)


class Environment(StrEnum):
    """Where a build goes; each has its values in deployments/environments."""

    STAGING = "staging"
    PRODUCTION = "production"


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Deploy, try and take back a build.")
Target = Annotated[Environment, typer.Argument(envvar="ENVIRONMENT", help="The cluster's role.")]


@app.command(epilog="Example: REGISTRY=registry.example/pathcast python -m deployments.release overlays")
def overlays() -> None:
    """Write build/deployments: the folders of deployments/, with the pushed images by repository and digest."""
    folders = write_overlays(OVERLAYS, read_digests(DIGESTS, IMAGES.keys()), os.environ)
    _console.print(f"{len(folders)} folders in {OVERLAYS.relative_to(PROJECT)}, for kubectl apply -k")


@app.command(epilog="Example: KUBECONFIG=staging.conf python -m deployments.release deploy staging")
def deploy(target: Target) -> None:
    """Install or upgrade the chart and wait; helm takes back an upgrade that does not become ready."""
    _run(deploy_command(target, read_digests(DIGESTS), os.environ))


@app.command(epilog="Example: KUBECONFIG=staging.conf python -m deployments.release smoke staging")
def smoke(target: Target) -> None:
    """Run the chart's own test on the cluster."""
    _run(smoke_command(os.environ))


@app.command(epilog="Example: KUBECONFIG=staging.conf python -m deployments.release rollback staging")
def rollback(target: Target) -> None:
    """Go back to the release before this one; a first release is taken away."""
    where = ["--namespace", namespace(os.environ)]
    history = _run(["helm", "history", RELEASE, *where, "--output", "json"], capture=True).stdout
    _run(rollback_command(json.loads(history), where))


@app.command("compile", epilog="Example: REGISTRY=registry.example/pathcast python -m deployments.release compile")
def compile_pipelines() -> None:
    """Write build/pipelines: the pipelines, whose steps run in the pushed training image or in PATHCAST_TRAIN_IMAGE."""
    image = os.environ.get(TRAIN_IMAGE) or pushed_image("pathcast-train", read_digests(DIGESTS), os.environ)
    command = [sys.executable, "-m", "pathcast", "pipeline", "compile", "--output", str(PIPELINES)]
    _run(command, environment=os.environ | {TRAIN_IMAGE: image})
    _console.print(f"their steps run in {image}")


@app.command(epilog="Example: KFP_ENDPOINT=https://pipelines.example python -m deployments.release upload")
def upload() -> None:
    """Upload the compiled pipelines of build/pipelines, each as a new version of its name."""
    client = _pipelines_client(os.environ)
    version = f"{os.environ.get('TAG') or 'manual'}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with host_errors(os.environ["KFP_ENDPOINT"]):
        names = upload_pipelines(client, compiled_pipelines(PIPELINES), version)
    for name in names:
        _console.print(f"{name}: version {version}")


@app.command(epilog="Example: KFP_ENDPOINT=https://pipelines.example python -m deployments.release retrain")
def retrain() -> None:
    """Start a run of the training pipeline, as it was just compiled.

    Only if training code changed since the commit of the last such run that did not fail, or RETRAIN is true.
    """
    client = _pipelines_client(os.environ)
    found = [file for file in compiled_pipelines(PIPELINES) if file.stem == RETRAIN]
    if not found:
        raise InvalidInputError(f"{PIPELINES}: {RETRAIN}.yaml is not there", hint="run `make compile`")
    where = os.environ.get("KFP_NAMESPACE")
    with host_errors(os.environ["KFP_ENDPOINT"]):
        experiment = client.create_experiment(_EXPERIMENT, namespace=where).experiment_id
        since = trained_commit(client, experiment)
        if since and os.environ.get("RETRAIN") != "true" and not training_changed(since, PROJECT):
            _console.print(f"no training run: nothing of training changed since the run of {since}")
            return
        name = f"{RETRAIN}-{os.environ.get('TAG') or 'manual'}-{_commit(PROJECT)}"
        started = client.create_run_from_pipeline_package(
            str(found[0]),
            arguments={"force": True},
            run_name=name,
            experiment_id=experiment,
            namespace=where,
            service_account=os.environ.get("KFP_ACCOUNT"),
        )
    _console.print(f"started {name}: {started.run_id}")


def deploy_command(target: Environment, digests: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """Helm's command line: the site's values, and each image by repository and digest."""
    command = ["helm", "upgrade", RELEASE, str(CHART), "--install", "--namespace", namespace(environment)]
    command += ["--values", str(PROJECT / "deployments" / "environments" / f"{target}.yaml")]
    for value, name in _VALUES.items():
        command += [
            "--set-string",
            f"{value}.repository={_repository(name, environment)},{value}.digest={digests[name]}",
        ]
    return [*command, *TAKE_OVER, "--rollback-on-failure", "--wait", "--timeout", "15m"]


def write_overlays(target: Path, digests: Mapping[str, str], environment: Mapping[str, str]) -> list[Path]:
    """For each folder of deployments/ that `kubectl apply -k` takes, one under `target` with the pushed images."""
    images = [
        {"name": name, "newName": _repository(name, environment), "digest": digest}
        for name, digest in sorted(digests.items())
    ]
    shutil.rmtree(target, ignore_errors=True)
    written = []
    for file in sorted(DEPLOYMENTS.rglob("kustomization.yaml")):
        folder = target / file.parent.relative_to(DEPLOYMENTS)
        folder.mkdir(parents=True, exist_ok=True)
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(file.parent, folder)],
            "images": images,
        }
        # JSON is YAML.
        (folder / file.name).write_text(json.dumps(overlay, indent=2) + "\n", encoding="utf-8")
        written.append(folder)
    return written


def smoke_command(environment: Mapping[str, str]) -> list[str]:
    """Helm's command line that runs the chart's test and shows what it printed."""
    return ["helm", "test", RELEASE, "--namespace", namespace(environment), "--logs", "--timeout", "10m"]


def rollback_command(history: Sequence[Mapping[str, object]], where: Sequence[str]) -> list[str]:
    """Helm's command line back to the last revision that was good, given its history, oldest first."""
    good = [entry["revision"] for entry in history[:-1] if entry["status"] in ("superseded", "deployed")]
    if not good:
        return ["helm", "uninstall", RELEASE, *where, "--wait", "--timeout", "15m"]
    return ["helm", "rollback", RELEASE, str(good[-1]), *where, *TAKE_OVER, "--wait", "--timeout", "15m"]


def pushed_image(name: str, digests: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """An image as a cluster pulls it: repository and digest."""
    return f"{_repository(name, environment)}@{digests[name]}"


def namespace(environment: Mapping[str, str]) -> str:
    """NAMESPACE, `pathcast` by default."""
    return environment.get("NAMESPACE") or "pathcast"


def read_digests(file: Path, wanted: Collection[str] = _VALUES.values()) -> dict[str, str]:
    """The digests that `make push` wrote; `wanted`, by default all that the chart deploys, must be among them."""
    try:
        digests: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{file}: no such file", hint="push the images first: `make push`") from error
    missing = set(wanted) - digests.keys()
    if missing:
        raise InvalidInputError(f"{file}: {', '.join(sorted(missing))} missing", hint="push all images: `make push`")
    return digests


def compiled_pipelines(folder: Path) -> list[Path]:
    """The compiled pipelines, by name."""
    found = sorted(folder.glob("*.yaml"))
    if not found:
        raise InvalidInputError(f"{folder}: no compiled pipelines", hint="run `make compile`")
    return found


def training_changed(since: str, project: Path) -> bool:
    """Whether training code differs from that of the commit `since`, or that commit is not there any more."""
    command = ["git", "diff", "--quiet", since, "HEAD", "--", *TRAINING_CODE]
    return subprocess.run(command, cwd=project, stderr=subprocess.DEVNULL).returncode != 0


def trained_commit(client: kfp.Client, experiment: str) -> str | None:
    """The commit in the name of the newest run that did not fail; a training that is under way counts."""
    token = ""
    while True:
        page = client.list_runs(token, _PAGE, sort_by="created_at desc", experiment_id=experiment)
        for run in page.runs or ():
            named = _COMMIT_OF_RUN.search(run.display_name)
            if named and run.state not in ("FAILED", "CANCELED", "CANCELING"):
                return named[1]
        token = page.next_page_token or ""
        if not token:
            return None


def upload_pipelines(client: kfp.Client, files: Sequence[Path], version: str) -> list[str]:
    """Upload each file, a new name as a pipeline, a known one as its next version; returns the names."""
    for file in files:
        store(client, file, shown_name(file.stem), version)
    return [shown_name(file.stem) for file in files]


def _commit(project: Path) -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.strip()


def _repository(name: str, environment: Mapping[str, str]) -> str:
    return image_reference(IMAGES[name], environment).rpartition(":")[0]


def _pipelines_client(environment: Mapping[str, str]) -> kfp.Client:
    if not environment.get("KFP_ENDPOINT"):
        raise InvalidInputError("KFP_ENDPOINT is not set", hint="the address of Kubeflow Pipelines, https://…")
    return connect(environment["KFP_ENDPOINT"], environment.get("KFP_TOKEN"))


def _run(
    command: Sequence[str], *, capture: bool = False, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    _console.print(f"running {' '.join(command[:3])}")
    stdout = subprocess.PIPE if capture else None
    try:
        result = subprocess.run(command, cwd=PROJECT, text=True, stdout=stdout, env=environment)
    except FileNotFoundError as error:
        raise PathcastError(f"{command[0]} is not installed", hint="install helm 4") from error
    if result.returncode:
        raise PathcastError(f"`{' '.join(command[:3])} …` failed with exit code {result.returncode}")
    return result


if __name__ == "__main__":
    try:
        app()
    except PathcastError as error:
        _console.print(f"error: {error}", style="red", markup=False, highlight=False)
        sys.exit(1)
