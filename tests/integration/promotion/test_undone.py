"""A switch that fails half way, is interrupted or killed: the champion serves on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.factor_model import MODEL, ONES, PASSED, served_factor, write_factor_model
from support.flaky_http import Flaky, flaky
from support.webhook import receiving
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import render_config
from pathcast.local.platform import Platform
from pathcast.monitoring.settings import MonitorSettings
from pathcast.registry.publishing import ModelLifecycle, challenger_of, publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
from pathcast.registry.verdicts import failed
from pathcast.serving.triton_client import TritonClient
from pathcast.training.champion import keep_serving
from pathcast.training.drift import tell

pytestmark = pytest.mark.integration


def test_a_replica_that_does_not_answer_stops_a_promotion(
    lifecycle: ModelLifecycle, champion: int, register: Callable[[float], int], registry: ModelRegistry,
    client: TritonClient, platform_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    version = register(6.0)
    lifecycle.record(MODEL, version, PASSED)
    with monkeypatch.context() as patched:
        # The name of a headless Service: one address for each pod, of which the second has just died.
        answers = [platform_settings.triton_grpc, "127.0.0.1:9"]
        patched.setattr("pathcast.registry.publishing.replica_addresses", lambda name: answers)
        with pytest.raises(ServiceUnavailableError, match="127.0.0.1:9"):
            lifecycle.promote(MODEL, version)
    assert registry.alias(MODEL, CHAMPION) == champion
    assert lifecycle.restore(MODEL) == champion
    assert served_factor(client) == 2.0


def test_a_version_that_does_not_load_leaves_the_champion_serving(
    lifecycle: ModelLifecycle, champion: int, registry: ModelRegistry, client: TritonClient, tmp_path: Path,
    platform_settings: PlatformSettings, register: Callable[[float], int],
) -> None:  # fmt: skip
    from pathcast.storage.object_store import object_store

    version = register(7.0)
    lifecycle.record(MODEL, version, PASSED)
    store = object_store(platform_settings)
    key = f"triton/{MODEL}/{version}/model.onnx"
    store.remove_object(platform_settings.models_bucket, key)
    with pytest.raises(InvalidInputError, match="not in the repository"):
        lifecycle.promote(MODEL, version)
    assert served_factor(client) == 2.0
    assert registry.alias(MODEL, CHAMPION) == champion
    assert lifecycle.restore(MODEL) == champion
    assert served_factor(client) == 2.0


@pytest.fixture
def mlflow_between(platform_settings: PlatformSettings) -> Iterator[Flaky]:
    with flaky(platform_settings.mlflow_tracking_uri.get_secret_value()) as server:
        yield server


def _writes(part: str) -> Callable[[str, str], bool]:
    """Requests that change what `part` of MLflow's addresses names."""
    return lambda method, path: method != "GET" and part in path


@pytest.mark.parametrize("fails", ["registered-models/alias", "model-versions/set-tag", "/api/2.0/mlflow/"])
@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_command_is_undone_where_the_registry_fails_after_the_switch(
    command: str, fails: str, second: int, champion: int, lifecycle: ModelLifecycle, registry: ModelRegistry,
    client: TritonClient, platform: Platform, mlflow_between: Flaky,
) -> None:  # fmt: skip
    arguments = ["promote", MODEL, str(second)]
    if command == "rollback":
        lifecycle.promote(MODEL, second)
        arguments = ["rollback", MODEL, "--reason", "a test"]
    served, factor_before = registry.alias(MODEL, CHAMPION), served_factor(client)
    mlflow_between.fails = _writes(fails)

    def run(expected: int) -> str:
        result = CliRunner().invoke(
            app,
            ["models", *arguments, "--state-dir", str(platform.state_dir)],
            env={"COLUMNS": "200", "PATHCAST_MLFLOW_TRACKING_URI": mlflow_between.address},
        )
        assert result.exit_code == expected, result.output
        return f"{result.output}{result.exception or ''}"

    said = run(expected=1)
    assert mlflow_between.failed
    assert f"version {served} serves on" in said
    assert "pathcast models list" in said
    assert "repeat the command" in said
    assert served_factor(client) == factor_before
    assert registry.alias(MODEL, CHAMPION) == served
    assert failed(lifecycle.verdicts(MODEL, served)) == []
    # Once it answers again, the command can be repeated.
    mlflow_between.fails = lambda *_: False
    run(expected=0)
    assert registry.alias(MODEL, CHAMPION) == (second if command == "promote" else champion)
    assert served_factor(client) == (11.0 if command == "promote" else 2.0)


def test_a_registry_that_did_it_and_lost_its_answer_has_done_it(
    second: int, registry: ModelRegistry, client: TritonClient, platform_settings: PlatformSettings,
    mlflow_between: Flaky,
) -> None:  # fmt: skip
    mlflow_between.fails, mlflow_between.after = _writes("registered-models/alias"), True
    address = {"mlflow_tracking_uri": SecretStr(mlflow_between.address)}
    ModelLifecycle(platform_settings.model_copy(update=address)).promote(MODEL, second)
    assert mlflow_between.failed
    assert registry.alias(MODEL, CHAMPION) == second
    assert served_factor(client) == 11.0


def test_a_first_version_that_the_registry_does_not_take_serves_nobody(
    lifecycle: ModelLifecycle, register: Callable[..., int], registry: ModelRegistry, client: TritonClient,
    platform_settings: PlatformSettings, mlflow_between: Flaky,
) -> None:  # fmt: skip
    version = register(2.0, model="newcomer")
    lifecycle.record("newcomer", version, PASSED)
    mlflow_between.fails = _writes("registered-models/alias")
    address = {"mlflow_tracking_uri": SecretStr(mlflow_between.address)}
    with pytest.raises(ServiceUnavailableError, match="nothing serves, as before"):
        ModelLifecycle(platform_settings.model_copy(update=address)).promote("newcomer", version)
    assert not client.ready("newcomer")
    assert registry.alias("newcomer", CHAMPION) is None
    lifecycle.promote("newcomer", version)
    assert served_factor(client, "newcomer") == 2.0


def test_an_interrupted_promotion_is_undone(
    second: int, champion: int, lifecycle: ModelLifecycle, registry: ModelRegistry, client: TritonClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By Ctrl-C, or by an error that is none of ours, between Triton's switch and the alias."""
    for interruption in (KeyboardInterrupt, KeyError):
        with monkeypatch.context() as patched:

            def ends(*_: object, interruption: type[BaseException] = interruption) -> None:
                assert served_factor(client) == 11.0
                raise interruption

            patched.setattr(ModelRegistry, "set_alias", ends)
            with pytest.raises(interruption):
                lifecycle.promote(MODEL, second)
        assert registry.alias(MODEL, CHAMPION) == champion
        assert served_factor(client) == 2.0


def test_an_interrupted_publication_ends_its_trial(
    champion: int, registry: ModelRegistry, client: TritonClient, platform_settings: PlatformSettings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "model.onnx"
    write_factor_model(path, 4.0)

    def ends(*_: object) -> None:
        assert served_factor(client, challenger_of(MODEL)) == 4.0
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelLifecycle, "smoke_test", ends)
    given = Registration(onnx_path=path, card="# times 4\n", example=ONES)
    with pytest.raises(KeyboardInterrupt):
        publish_model(platform_settings, MODEL, given, render_config(MODEL, path))
    assert served_factor(client) == 2.0
    assert not client.ready(challenger_of(MODEL))
    assert (registry.alias(MODEL, CHAMPION), registry.alias(MODEL, CHALLENGER)) == (champion, None)


def test_what_a_kill_leaves_half_way_is_put_right_and_told(
    second: int, champion: int, lifecycle: ModelLifecycle, registry: ModelRegistry, client: TritonClient,
    platform: Platform, platform_settings: PlatformSettings, mlflow_between: Flaky, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    reached, killed = threading.Event(), threading.Event()

    def hangs(method: str, path: str) -> bool:
        if method != "GET" and "registered-models/alias" in path:
            reached.set()
            killed.wait(60)
            return True
        return False

    mlflow_between.fails = hangs
    command = [sys.executable, "-m", "pathcast", "models", "promote", MODEL, str(second)]
    environment = {**os.environ, "PATHCAST_MLFLOW_TRACKING_URI": mlflow_between.address}
    with subprocess.Popen([*command, "--state-dir", str(platform.state_dir)], env=environment) as promotion:
        assert reached.wait(120)
        promotion.kill()
    killed.set()
    assert (registry.alias(MODEL, CHAMPION), served_factor(client)) == (champion, 11.0)
    assert lifecycle.astray(MODEL) == f"Triton at {platform_settings.triton_grpc} did not serve version {champion}"
    with receiving() as told:
        monitor = MonitorSettings(webhook_url=SecretStr(told.address))
        for _ in range(2):
            keep_serving(platform_settings, MODEL)
            assert tell(platform_settings, MODEL, monitor) is None
    assert (registry.alias(MODEL, CHAMPION), served_factor(client)) == (champion, 2.0)
    ((_, _, message),) = told.received
    assert (message["event"], message["champion"], message["mended"]) == ("champion_astray", champion, True)
    assert f"did not serve version {champion}. Version {champion} serves on." in message["text"]


def test_a_champion_that_cannot_be_put_right_is_told(
    champion: int, client: TritonClient, platform_settings: PlatformSettings, lifecycle: ModelLifecycle
) -> None:
    client.unload(MODEL)
    away = platform_settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"})
    try:
        with receiving() as told:
            with pytest.raises(ServiceUnavailableError, match="the object store failed"):
                keep_serving(away, MODEL)
            tell(platform_settings, MODEL, MonitorSettings(webhook_url=SecretStr(told.address)))
    finally:
        assert lifecycle.restore(MODEL) == champion
    ((_, _, message),) = told.received
    assert message["mended"] is False
    assert f"Next: `pathcast models promote {MODEL} {champion}`" in message["text"]
