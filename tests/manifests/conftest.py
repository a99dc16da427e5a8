"""What the checks need and may not find; what is missing is named, never passed over in silence."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.manifests import tools
from tests.manifests.schemas import crds_dir


def _skip(reason: str) -> None:
    warnings.warn(reason, stacklevel=1)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def kubernetes_tools() -> None:
    """helm, kubectl and Kubernetes' schemas."""
    try:
        tools.helm(), tools.kubectl(), tools.kubernetes_definitions()
    except tools.ToolMissing as error:
        _skip(f"the manifests are NOT checked: {error}")


@pytest.fixture(scope="session")
def crds() -> Path:
    """The folder of custom resource definitions."""
    folder = crds_dir()
    if not folder.is_dir():
        _skip(f"the manifests are NOT checked: no custom resource definitions in {folder} (beside PATHCAST_DATA)")
    return folder


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The promtool executable."""
    try:
        return tools.promtool()
    except tools.ToolMissing as error:
        _skip(f"the alerting rules are NOT tried: {error}")
        raise
