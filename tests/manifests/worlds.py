"""Whole clusters, as somebody would apply them: every part in one of its forms, and the chart on top."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.manifests.objects import CHART, DEPLOYMENTS, Json, build, parse, render

_SERVERS = ("kafka", "timescaledb", "minio", "mlflow", "training")

WORLDS: dict[str, tuple[tuple[str, ...], str]] = {
    "gpu": (
        (
            "namespace",
            *(*_SERVERS, "serving", "serving/modelmesh"),
            *("admin", "deployer"),
            *("training/jobs/tfjob", "training/jobs/trainjob", "training/katib", "training/katib/forecaster"),
        ),
        "gpu.yaml",
    ),
    "cpu": (
        (
            "namespace",
            *(f"{part}/overlays/cpu" for part in (*_SERVERS, "serving")),
            "serving/modelmesh-cpu",
            "training/jobs/tfjob-cpu",
            *("admin", "deployer"),
        ),
        "cpu.yaml",
    ),
    "canary": (("namespace", *_SERVERS, "serving/overlays/canary"), "gpu.yaml"),
    "knative": (("namespace", *_SERVERS, "serving/overlays/knative"), "gpu.yaml"),
}
"""The folders of `deployments/` and the chart's values, by name."""


@cache
def world(name: str) -> tuple[Json, ...]:
    """All objects of the cluster `name`; not to be changed."""
    folders, values = WORLDS[name]
    applied = [resource for folder in folders for resource in built(folder)]
    return (*applied, *rendered(CHART / "ci" / values))


@cache
def built(folder: str) -> tuple[Json, ...]:
    """The objects of one folder of `deployments/`."""
    return tuple(build(DEPLOYMENTS / folder))


@cache
def rendered(values: Path) -> tuple[Json, ...]:
    """The chart's objects with one file of values."""
    return tuple(parse(render([values])))
