"""A search as an Experiment of Katib (kubeflow.org/v1beta1), whose trials are `pathcast` commands, a Job each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pathcast.core.errors import InvalidInputError
from pathcast.tracking.settings import tracker_settings
from pathcast.training.family import find_family
from pathcast.training.options import check_values
from pathcast.training.search_space import TRACKER, Choice, Range, Real, Space, without
from pathcast.training.tracker_tuning import SPACE

NAMESPACE = "pathcast-search"
_USER = 10001
_CLAIM = "search-data"
_SCRATCH = "/tmp"  # noqa: S108 - in the container, a volume of its own
_PREPARED = "--data=/data/prepared"
_NUMBER = r"([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How many settings are tried, how many at a time, the CPU threads of each, and its image."""

    total: int
    parallel: int
    threads: int
    image: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial runs: `command`, with a `--set` for each setting; it prints `metric` and its value."""

    name: str
    command: tuple[str, ...]
    space: Space
    metric: str
    maximize: bool


def family_trial(family: str, fixed: Mapping[str, Any], threads: int) -> Trial:
    """A training, which prints a line for each epoch: "epoch 3/40: loss 0.51, score 0.82".

    Raises InvalidInputError where `fixed` are no settings of it.
    """
    found = find_family(family)
    check_values(found.name, fixed, {**found.settings, **asdict(found.training)}, "setting")
    command = ("pathcast", "train", family, _PREPARED, f"--output={_SCRATCH}/trial", f"--threads={threads}")
    return Trial(found.name, command, found.search, "score", maximize=False)


def tracker_trial(fixed: Mapping[str, Any], detections: Sequence[str]) -> Trial:
    """The tracker over all sequences, whose last line is "hota 61.2"; raises as `family_trial` does."""
    tracker_settings(fixed)
    folders = [f"--detections={name}" for name in detections]
    command = ("pathcast", "evaluate", "tracker", _PREPARED, *folders, "--no-peers")
    return Trial(TRACKER, command, SPACE, "hota", maximize=True)


def experiment(trial: Trial, fixed: Mapping[str, Any], trials: Trials) -> dict[str, Any]:
    """The Experiment that searches where `trial` says; `fixed` settings are the same in all trials.

    Trials read the folder `prepared` of the claim `search-data`, as pods that keep to Pod Security "restricted".
    Raises InvalidInputError where everything is fixed, or choices are no plain values.
    """
    searched = without(trial.space, fixed)
    settings = [f"--set={name}={json.dumps(value)}" for name, value in fixed.items()]
    settings += [f"--set={name}=${{trialParameters.{name}}}" for name in searched]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": trial.name.replace("_", "-"), "namespace": NAMESPACE},
        "spec": {
            "objective": {
                "type": "maximize" if trial.maximize else "minimize",
                "objectiveMetricName": trial.metric,
            },
            "algorithm": {"algorithmName": "tpe"},
            "earlyStopping": {
                "algorithmName": "medianstop",
                "algorithmSettings": [
                    {"name": "min_trials_required", "value": "4"},
                    {"name": "start_step", "value": "5"},
                ],
            },
            "parallelTrialCount": min(trials.parallel, trials.total),
            "maxTrialCount": trials.total,
            "maxFailedTrialCount": max(1, trials.total // 6),
            "parameters": [{"name": name, **_feasible(place)} for name, place in searched.items()],
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [f"({trial.metric}) {_NUMBER}"]}},
            },
            "trialTemplate": {
                "primaryContainerName": "trial",
                "trialParameters": [{"name": name, "reference": name} for name in searched],
                "trialSpec": _job([*trial.command, *settings], trials),
            },
        },
    }


def _feasible(place: Range) -> dict[str, Any]:
    if isinstance(place, Choice):
        if not all(isinstance(value, int | float | str) for value in place.values):
            raise InvalidInputError(f"expected numbers or words to choose from, got {place.values}")
        words = [value if isinstance(value, str) else json.dumps(value) for value in place.values]
        return {"parameterType": "categorical", "feasibleSpace": {"list": words}}
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
