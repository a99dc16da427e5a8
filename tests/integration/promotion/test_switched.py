"""Champion and challenger: what serves is switched, and clients never meet a failed switch."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.factor_model import MODEL, ONES, PASSED, served_factor
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import GateFailedError, InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.export.triton_config import render_config
from pathcast.local.platform import Platform
from pathcast.registry.publishing import REPLACED, ModelLifecycle, challenger_of, publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.repository import ModelRepository
from pathcast.registry.tracking import CHALLENGER, CHAMPION, ModelRegistry
from pathcast.registry.verdicts import IN_SERVICE, NO_CHAMPION, Verdict
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.model_lock import model_lock

pytestmark = pytest.mark.integration


def test_a_challenger_is_on_trial_beside_the_champion(
    lifecycle: ModelLifecycle,
    registry: ModelRegistry,
    register: Callable[[float], int],
    champion: int,
    client: TritonClient,
) -> None:
    version = register(3.0)
    assert served_factor(client) == 2.0
    assert lifecycle.deploy_challenger(MODEL, version, run="1") == challenger_of(MODEL)
    assert (served_factor(client), served_factor(client, challenger_of(MODEL))) == (2.0, 3.0)
    with pytest.raises(GateFailedError, match="got no verdict of smoke_test"):
        lifecycle.promote(MODEL, version)

    verdict = lifecycle.smoke_test(MODEL, version, ONES, {"y": np.full((2, 3), 6.0)})
    assert (verdict.passed, verdict.numbers["requests"], verdict.numbers["error_rate"]) == (False, 20, 1)
    with pytest.raises(GateFailedError, match="failed smoke_test: 20 of 20 requests failed; first: expected the file"):
        lifecycle.promote(MODEL, version)
    assert lifecycle.smoke_test(MODEL, version, ONES, {"y": np.full((2, 3), 3.0)}).passed
    lifecycle.withdraw_challenger(MODEL, run="1")
    assert served_factor(client) == 2.0
    assert not client.ready(challenger_of(MODEL))
    assert (registry.alias(MODEL, CHAMPION), registry.alias(MODEL, CHALLENGER)) == (champion, None)


def test_a_published_file_must_answer_alike_whenever_it_is_asked(
    champion: int, registry: ModelRegistry, client: TritonClient, platform_settings: PlatformSettings, tmp_path: Path
) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    given = Registration(onnx_path=path, card="# moody\n", example=ONES)
    with pytest.raises(GateFailedError, match="failed smoke_test"):
        publish_model(platform_settings, MODEL, given, render_config(MODEL, path))
    assert served_factor(client) == 2.0
    assert not client.ready(challenger_of(MODEL))
    assert (registry.alias(MODEL, CHAMPION), registry.alias(MODEL, CHALLENGER)) == (champion, None)


def test_no_request_fails_while_versions_are_promoted_and_rolled_back(
    lifecycle: ModelLifecycle,
    registry: ModelRegistry,
    register: Callable[[float], int],
    champion: int,
    platform: Platform,
    platform_settings: PlatformSettings,
) -> None:
    version = register(5.0)
    lifecycle.deploy_challenger(MODEL, version, run="1")
    lifecycle.record(MODEL, version, PASSED)
    answers: list[tuple[float, float]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask() -> None:
        with TritonClient(platform_settings.triton_grpc) as client:
            while not stop.is_set():
                try:
                    answers.append((time.monotonic(), served_factor(client)))
                except Exception as error:  # whatever a client would see
                    failures.append(error)
                time.sleep(0.005)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        started = time.monotonic()
        lifecycle.promote(MODEL, version)
        promoted = time.monotonic()
        command = [sys.executable, "-m", "pathcast", "models", "rollback", MODEL, "--reason", "the test wants it back"]
        subprocess.run([*command, "--state-dir", str(platform.state_dir)], check=True, timeout=120, capture_output=True)
        back = time.monotonic()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {value for _, value in answers} == {2.0, 5.0}
    seen_after = min(at for at, value in answers if value == 5.0) - started
    print(
        f"{len(answers)} requests, 0 failed; promotion seen after {seen_after:.2f} s, done after "
        f"{promoted - started:.2f} s; `pathcast models rollback` took {back - promoted:.1f} s"
    )
    assert seen_after <= 10
    assert back - promoted <= 60
    assert max(answers)[1] == 2.0
    assert registry.alias(MODEL, CHAMPION) == champion
    with pytest.raises(GateFailedError, match="in_service: the test wants it back"):
        lifecycle.promote(MODEL, version)


def test_one_at_a_time_changes_what_serves(
    champion: int, second: int, platform_settings: PlatformSettings, registry: ModelRegistry, client: TritonClient
) -> None:
    hasty = ModelLifecycle(platform_settings, wait_s=0.1)
    changes: list[Callable[[], object]] = [
        lambda: hasty.promote(MODEL, second),
        lambda: hasty.roll_back(MODEL, "a test"),
        lambda: hasty.restore(MODEL),
        lambda: hasty.deploy_challenger(MODEL, second, run="1"),
        lambda: hasty.withdraw_challenger(MODEL, run="1"),
        lambda: hasty.prune(MODEL, 1),
    ]
    with model_lock(platform_settings.database_url, MODEL, "promote version 7"):
        for change in changes:
            with pytest.raises(
                ServiceUnavailableError, match=f"{MODEL}: still locked after 0.1 s by promote version 7"
            ):
                change()
    assert (registry.alias(MODEL, CHAMPION), registry.alias(MODEL, CHALLENGER)) == (champion, None)
    assert served_factor(client) == 2.0


def test_a_trial_is_ended_by_its_own_run_alone(
    champion: int, second: int, lifecycle: ModelLifecycle, register: Callable[[float], int], registry: ModelRegistry,
    client: TritonClient,
) -> None:  # fmt: skip
    lifecycle.deploy_challenger(MODEL, second, run="one")
    lifecycle.withdraw_challenger(MODEL, run="another")
    assert client.ready(challenger_of(MODEL), str(second))
    # A trial takes the place of the one before, which is no verdict on that.
    later = register(12.0)
    lifecycle.deploy_challenger(MODEL, later, run="another")
    with pytest.raises(GateFailedError, match=f"expected version {second} on trial, got {later}"):
        lifecycle.smoke_test(MODEL, second, ONES, {"y": np.full((2, 3), 11.0)})
    lifecycle.withdraw_challenger(MODEL, run="one")
    assert client.ready(challenger_of(MODEL), str(later))
    lifecycle.withdraw_challenger(MODEL, run="another")
    assert not client.ready(challenger_of(MODEL))
    assert registry.alias(MODEL, CHALLENGER) is None


def test_a_version_is_promoted_in_the_place_of_the_champion_that_it_was_compared_with(
    lifecycle: ModelLifecycle, register: Callable[..., int], registry: ModelRegistry
) -> None:
    model = "compared"
    first, second, third = (register(value, model=model) for value in (1.0, 2.0, 3.0))
    for version, champion in ((first, NO_CHAMPION), (second, first), (third, first)):
        lifecycle.record(model, version, PASSED)
        lifecycle.record(model, version, Verdict("metric", True, "better", against=champion))
    for version in (first, second, second):  # it may be promoted once more
        lifecycle.promote(model, version)
    with pytest.raises(GateFailedError, match=f"compared with the champion, version {second}; got metric with {first}"):
        lifecycle.promote(model, third)
    assert registry.alias(model, CHAMPION) == second


def test_a_rollback_skips_versions_that_were_rolled_back_from(
    lifecycle: ModelLifecycle, register: Callable[..., int], registry: ModelRegistry, client: TritonClient
) -> None:
    model = "skipping"
    first, bad, third = (register(value, model=model) for value in (1.0, 2.0, 3.0))
    for version in (first, bad, third):
        lifecycle.record(model, version, PASSED)
        lifecycle.promote(model, version)
    # Somebody has found out what was wrong with the one before the champion.
    lifecycle.record(model, bad, Verdict(IN_SERVICE, False, "wrong at night"))
    assert lifecycle.roll_back(model, "worse") == first
    assert (registry.alias(model, CHAMPION), served_factor(client, model)) == (first, 1.0)
    # It was promoted again after another, so both lead to each other.
    registry.tag(model, first, {REPLACED: str(bad)})
    with pytest.raises(InvalidInputError, match="was not rolled back from, found none"):
        lifecycle.roll_back(model, "a test")
    assert (registry.alias(model, CHAMPION), served_factor(client, model)) == (first, 1.0)
    # A rollback from it that was killed before the alias moved has left its mark.
    lifecycle.record(model, first, Verdict(IN_SERVICE, False, "a test"))
    lifecycle.promote(model, first)


def test_the_registry_tells_what_a_version_is_and_came_from(
    champion: int, registry: ModelRegistry, platform_settings: PlatformSettings
) -> None:
    import mlflow

    tags = registry.tags(MODEL, champion)
    assert {"git_commit", "sha256", "data_card_sha256", "gate.smoke_test"} <= set(tags)
    mlflow.set_tracking_uri(platform_settings.mlflow_tracking_uri.get_secret_value())
    loaded = mlflow.models.get_model_info(f"models:/{MODEL}/{champion}")
    assert [each.name for each in loaded.signature.inputs] == ["x"]
    assert [each.name for each in loaded.signature.outputs] == ["y"]
    assert loaded.saved_input_example_info is not None
    run = mlflow.get_run(mlflow.MlflowClient().get_model_version(MODEL, str(champion)).run_id)
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/data_card.json") == {"rows": 2}


def test_old_versions_are_pruned_but_not_those_with_a_role(
    lifecycle: ModelLifecycle, champion: int, register: Callable[[float], int], platform_settings: PlatformSettings
) -> None:
    from pathcast.storage.object_store import object_store

    newest = register(8.0)
    gone = lifecycle.prune(MODEL, keep=1)
    repository = ModelRepository(object_store(platform_settings), platform_settings.models_bucket)
    assert {published.version for published in repository.versions(MODEL)} == {champion, newest}
    assert champion not in gone
    assert gone


def test_what_is_not_there_is_named(lifecycle: ModelLifecycle, champion: int) -> None:
    nowhere = champion + 1000
    with pytest.raises(InvalidInputError, match=f"model {MODEL} version {nowhere}: not registered"):
        lifecycle.promote(MODEL, nowhere)
    with pytest.raises(InvalidInputError, match="model nobodys version 1: not registered"):
        lifecycle.promote("nobodys", 1)
    with pytest.raises(InvalidInputError, match=f"model detector version {nowhere}: not in the repository"):
        lifecycle.misfit("detector", nowhere)
    with pytest.raises(InvalidInputError, match="model nobodys: not in the repository"):
        lifecycle.prune("nobodys", keep=1)


def test_the_commands_show_and_switch(
    lifecycle: ModelLifecycle,
    registry: ModelRegistry,
    register: Callable[[float], int],
    champion: int,
    client: TritonClient,
    platform: Platform,
) -> None:
    place = ["--state-dir", str(platform.state_dir)]

    def run(*arguments: str, expected: int = 0) -> str:
        result = CliRunner().invoke(app, ["models", *arguments, *place], env={"COLUMNS": "200"})
        assert result.exit_code == expected, result.output
        return f"{result.output}{result.exception or ''}"

    version = register(9.0)
    assert "got no verdict of smoke_test" in run("promote", MODEL, str(version), expected=1)
    lifecycle.record(MODEL, version, PASSED)

    def shown_by(*arguments: str) -> str:
        """What a command says, which shows how the model stands in a table besides."""
        output = run(*arguments)
        assert all(heading in output for heading in ("versions", "champion", "challenger", "served")), output
        return " ".join(output.split())

    assert f"version {version} is the champion" in shown_by("promote", MODEL, str(version))
    assert served_factor(client) == 9.0
    compared = run("compare", MODEL, str(champion), str(version))
    assert all(part in compared for part in ("factor", "✓ right", "champion"))
    assert f"version {champion} is the champion again" in shown_by("rollback", MODEL, "--reason", "seen enough")
    assert served_factor(client) == 2.0
    assert "✗ seen enough" in run("compare", MODEL, str(version))
    assert "expected registered versions, got [99]" in run("compare", MODEL, "99", expected=1)
    assert challenger_of(MODEL) not in run("list")
    shown = run("show", MODEL)
    assert "✗ in_service" in shown
    assert registry.tags(MODEL, version)["git_commit"][:12] in shown
    register(10.0)
    assert f"deleted {version - 1}, {version}" in shown_by("prune", MODEL, "--keep", "1")
