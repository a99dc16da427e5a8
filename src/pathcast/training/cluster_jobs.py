"""A training as a job of the cluster: what it needs goes to the shared volume, its model comes back from there.

The step of the pipeline and the job's pods mount the same volume. The step copies the prepared data and the initial
weights into a folder named after the job, the workers read and write there, and the chief's checkpoint outlives its
pod. The name follows from the step's output, which stays the same when Kubeflow tries the step again: then a job that
still runs is followed, not doubled, and a training goes on from its checkpoint.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.errors import PathcastError
from pathcast.core.settings import from_environment
from pathcast.training.job_objects import MOUNT, JobRequest, tf_job, train_job
from pathcast.training.job_run import JobKind, JobRun
from pathcast.training.jobs import TFJOB, TRAINJOB, Crew, Training

DEADLINE_S = 23 * 3600
"""A little less than the step that waits for it has."""
KEPT_S = 7 * 86_400
"""How long the folder of a failed job is kept for another try."""
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class JobSettings(BaseSettings):
    """What the step's pod knows of itself, from its environment; Kubeflow sets the last two."""

    model_config = SettingsConfigDict(env_prefix="PATHCAST_", frozen=True, extra="ignore")

    train_image: str
    job_namespace: str = ""
    pod_name: str = Field("", validation_alias="KFP_POD_NAME")
    pod_uid: str = Field("", validation_alias="KFP_POD_UID")

    def namespace(self, file: Path = _NAMESPACE_FILE) -> str:
        """PATHCAST_JOB_NAMESPACE, else that of the pod."""
        if self.job_namespace:
            return self.job_namespace
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise PathcastError(
                f"jobs: no namespace: {file}: {error.strerror}",
                hint="run in a pod of the cluster, or set PATHCAST_JOB_NAMESPACE",
            ) from error

    def owner(self) -> Mapping[str, str] | None:
        """The pod of the step: when it is removed, so is the job."""
        if not (self.pod_name and self.pod_uid):
            return None
        return {"apiVersion": "v1", "kind": "Pod", "name": self.pod_name, "uid": self.pod_uid}


@dataclass(frozen=True, slots=True)
class _Operator:
    kind: JobKind
    build: Callable[[JobRequest], dict[str, Any]]


_OPERATORS = {
    TFJOB: _Operator(
        JobKind(
            "kubeflow.org",
            "v1",
            "tfjobs",
            job_label="training.kubeflow.org/job-name",
            index_label="training.kubeflow.org/replica-index",
            container="tensorflow",
            succeeded="Succeeded",
        ),
        tf_job,
    ),
    TRAINJOB: _Operator(
        JobKind(
            "trainer.kubeflow.org",
            "v1alpha1",
            "trainjobs",
            job_label="jobset.sigs.k8s.io/jobset-name",
            index_label="batch.kubernetes.io/job-completion-index",
            container="node",
            succeeded="Complete",
        ),
        train_job,
    ),
}


def launch_job(training: Training, crew: Crew, workspace: Path) -> None:
    """Run the training as the job that `crew` names and copy the model to `training.output`.

    Raises PathcastError with the failing worker's last lines, ServiceUnavailableError where the API server does not
    answer. However it ends, by SIGTERM too, the job is gone from the cluster.
    """
    from kubernetes import config

    own = from_environment(JobSettings, hint="the step runs in an image of this project, which sets it")
    try:
        config.load_config()
    except config.ConfigException as error:
        raise PathcastError(f"jobs: no way to the cluster: {error}", hint="run in a pod, or set KUBECONFIG") from error
    operator = _OPERATORS[crew.launcher]
    name = job_name(training)
    folder = workspace / "runs" / name
    _sweep(workspace / "runs", time.time() - KEPT_S)
    inside = _bring(training, folder, Path(MOUNT) / "runs" / name)
    request = JobRequest(
        name=name,
        namespace=own.namespace(),
        image=own.train_image,
        arguments=inside.arguments("--resume"),
        workers=crew.workers,
        gpus=crew.gpus,
        nodes=crew.nodes,
        deadline_s=DEADLINE_S,
        owner=own.owner(),
    )
    run = JobRun(operator.kind, request.namespace, name, workers=crew.workers)
    run.until_done(operator.build(request), limit_s=DEADLINE_S)
    shutil.copytree(folder / "output", training.output, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def job_name(training: Training) -> str:
    """A name that is the same for the same output, short enough for those that the operators make of it.

    >>> job_name(Training("support.toy:FAMILY", Path("d"), Path("/s3/run/7"), {}))
    'pathcast-support-toy-family-bd571e38'
    """
    family = re.sub(r"[^a-z0-9]+", "-", training.family.lower()).strip("-")[:20].rstrip("-")
    return f"pathcast-{family}-{hashlib.sha256(str(training.output).encode()).hexdigest()[:8]}"


def _bring(training: Training, folder: Path, seen: Path) -> Training:
    """Copy what the workers need, whole or not at all; the training as the job's pods see it, below `seen`."""
    for name, source in (("data", training.prepared), ("initial", training.initial)):
        if source is None or (folder / name).exists():
            continue
        partial = folder / f".{name}"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        partial.rename(folder / name)
    initial = None if training.initial is None else seen / "initial"
    return replace(training, prepared=seen / "data", output=seen / "output", initial=initial)


def _sweep(runs: Path, before: float) -> None:
    """Remove the folders of runs that nobody came back to."""
    for folder in runs.glob("pathcast-*"):
        if folder.stat().st_mtime < before:
            shutil.rmtree(folder, ignore_errors=True)
