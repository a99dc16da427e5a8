"""The factor model on the real registry, object store and Triton."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.factor_model import MODEL, ONES, PASSED, write_factor_model

from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import render_config
from pathcast.registry.publishing import ModelLifecycle
from pathcast.registry.registration import Registration
from pathcast.registry.tracking import CHAMPION, ModelRegistry
from pathcast.serving.triton_client import TritonClient


@pytest.fixture(scope="session")
def lifecycle(platform_settings: PlatformSettings) -> ModelLifecycle:
    return ModelLifecycle(platform_settings)


@pytest.fixture(scope="session")
def registry(platform_settings: PlatformSettings) -> ModelRegistry:
    return ModelRegistry(platform_settings.mlflow_tracking_uri)


@pytest.fixture(scope="session")
def client(platform_settings: PlatformSettings) -> Iterator[TritonClient]:
    with TritonClient(platform_settings.triton_grpc) as client:
        yield client


@pytest.fixture(scope="session")
def register(lifecycle: ModelLifecycle, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """Registers a model that multiplies by a factor."""

    def register(factor: float, model: str = MODEL) -> int:
        path: Path = tmp_path_factory.mktemp("model") / "model.onnx"
        write_factor_model(path, factor)
        given = Registration(
            onnx_path=path, card=f"# times {factor}\n", metrics={"factor": factor}, data_card={"rows": 2}, example=ONES
        )
        version = lifecycle.register(model, given)
        lifecycle.publish(model, version, path, render_config(model, path), card=f"# times {factor}\n")
        return version

    return register


@pytest.fixture(scope="session")
def champion(lifecycle: ModelLifecycle, register: Callable[[float], int]) -> int:
    version = register(2.0)
    lifecycle.deploy_challenger(MODEL, version, run="1")
    lifecycle.record(MODEL, version, PASSED)
    lifecycle.promote(MODEL, version)
    return version


@pytest.fixture
def second(
    lifecycle: ModelLifecycle, champion: int, register: Callable[[float], int], registry: ModelRegistry
) -> Iterator[int]:
    """A version that may serve; afterwards the champion is champion again."""
    version = register(11.0)
    lifecycle.record(MODEL, version, PASSED)
    yield version
    registry.set_alias(MODEL, CHAMPION, champion)
    lifecycle.restore(MODEL)
