"""A family's search as an Experiment of Katib (kubeflow.org/v1beta1), whose trials are `pathcast train`, a Job each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pathcast.core.errors import InvalidInputError
from pathcast.training.search_space import Choice, Range, Real, Space, without

NAMESPACE = "pathcast-search"
_USER = 10001
_CLAIM = "search-data"
_SCRATCH = "/tmp"  # noqa: S108 - in the container, a volume of its own
_SCORE = r"(score) ([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
"""Matches what a training prints for each epoch: "epoch 3/40: loss 0.51, score 0.82"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How many settings are tried, how many at a time, the CPU threads of each, and its image."""

    total: int
    parallel: int
    threads: int
    image: str


def experiment(name: str, family: str, space: Space, fixed: Mapping[str, str], trials: Trials) -> dict[str, Any]:
    """The Experiment `name` that searches `space` for `family`, as `pathcast train` knows it.

    `fixed` settings are the same in all trials.
    Trials read the folder `prepared` of the claim `search-data`, as pods that keep to Pod Security "restricted".
    Raises InvalidInputError where everything is fixed, or choices are no plain values.
    """
    searched = without(space, fixed)
    settings = [f"--set={name}={value}" for name, value in fixed.items()]
    settings += [f"--set={name}=${{trialParameters.{name}}}" for name in searched]
    command = ["pathcast", "train", family, "--data=/data/prepared", f"--output={_SCRATCH}/trial"]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name.replace("_", "-"), "namespace": NAMESPACE},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "score"},
            "algorithm": {"algorithmName": "tpe"},
            "earlyStopping": {
                "algorithmName": "medianstop",
                "algorithmSettings": [
                    {"name": "min_trials_required", "value": "4"},
                    {"name": "start_step", "value": "5"},
                ],
            },
            "parallelTrialCount": trials.parallel,
            "maxTrialCount": trials.total,
            "maxFailedTrialCount": max(1, trials.total // 6),
            "parameters": [{"name": name, **_feasible(place)} for name, place in searched.items()],
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [_SCORE]}},
            },
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": name, "reference": name} for name in searched],
                "trialSpec": _job([*command, f"--threads={trials.threads}", *settings], trials),
            },
        },
    }


def _feasible(place: Range) -> dict[str, Any]:
    if isinstance(place, Choice):
        if not all(isinstance(value, int | float | str) for value in place.values):
            raise InvalidInputError(f"expected numbers or words to choose from, got {place.values}")
        return {"parameterType": "categorical", "feasibleSpace": {"list": [str(value) for value in place.values]}}
    kind = "double" if isinstance(place, Real) else "int"
    log = {"distribution": "logUniform"} if place.log else {}
    return {"parameterType": kind, "feasibleSpace": {"min": str(place.low), "max": str(place.high), **log}}


def _job(command: list[str], trials: Trials) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {
            "backoffLimit": 1,
            "template": {
                "metadata": {
                    "labels": {"app.kubernetes.io/name": "search-trial", "app.kubernetes.io/part-of": "pathcast"}
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "restartPolicy": "Never",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _USER,
                        "runAsGroup": _USER,
                        "fsGroup": _USER,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "trial",
                            "image": trials.image,
                            "command": command,
                            "env": [{"name": "HOME", "value": _SCRATCH}],
                            "resources": {
                                "requests": {"cpu": str(trials.threads), "memory": "2Gi"},
                                "limits": {"memory": "8Gi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [
                                {"name": "data", "mountPath": "/data", "readOnly": True},
                                {"name": "tmp", "mountPath": _SCRATCH},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "data", "persistentVolumeClaim": {"claimName": _CLAIM}},
                        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
                    ],
                },
            },
        },
    }
